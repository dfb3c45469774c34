export { Cache, Loaded } from "./lib/cache.js";
export { CacheError, CacheUnavailable, LoadsExhausted, NotFound, UnsafeSet } from "./lib/errors.js";
export { L1 } from "./lib/l1.js";
export { render } from "./lib/names.js";
export { event, publish, publishToStream } from "./lib/events.js";
