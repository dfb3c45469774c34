export class CacheError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = this.constructor.name;
  }
}
/** Redis did not do what was asked: an entry may still be there. */
export class CacheUnavailable extends CacheError {}
/** Redis is unavailable, and enough loads run already. */
export class LoadsExhausted extends CacheError {}
/** A loader says that there is no such row; it is remembered for `negativeTtl`. */
export class NotFound extends CacheError {}
/** A plain set after a commit may be a stale fill. */
export class UnsafeSet extends CacheError {
  constructor() {
    super("set needs the row's version; else use writing() around the transaction, or refresh()");
  }
}
