export interface Kind {
  /** Milliseconds, all of them. */
  ttl?: number; swr?: number; staleIfError?: number; negativeTtl?: number; lease?: number; wait?: number;
  cooldown?: number; l1Ttl?: number;
  jitter?: number; early?: number; schema?: number; maxBytes?: number;
}
export interface Codec<T = unknown> {
  /** One letter in the entry: "J" for JSON, "X" for one of your own. */
  mark: string;
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}
export interface CacheOptions {
  prefix?: string; kinds?: Record<string, Kind>; codec?: Codec<any>; loads?: number;
  /** Milliseconds that a command may take. */
  timeout?: number; l1?: L1 | null; stamp?: string; version?: string;
}
export interface ReadOptions { tags?: string[]; versions?: string[]; kind?: string | Kind }
export interface LoadContext {
  /** Make the entry depend on tags; call it before what depends on them is read. */
  tag(...tags: string[]): Promise<void>;
}
export type Loader<T> = (ctx: LoadContext) => Promise<T | Loaded<T>> | T | Loaded<T>;
export class Loaded<T> {
  constructor(value: T, more?: { ttl?: number; version?: number; tags?: string[] });
  value: T;
}
export class Cache {
  /** A client of ioredis or node-redis, standalone or cluster. */
  constructor(client: any, options?: CacheOptions);
  readonly stats: Record<string, number>;
  getOrLoad<T>(key: string, loader: Loader<T>, options?: ReadOptions): Promise<T>;
  peek<T>(key: string, options?: ReadOptions): Promise<T | null | undefined>;
  refresh<T>(key: string, loader: Loader<T>, options?: ReadOptions): Promise<T>;
  invalidate(...keys: string[]): Promise<void>;
  invalidateTags(...tags: string[]): Promise<void>;
  bump(...versions: string[]): Promise<void>;
  expire(...keys: string[]): Promise<void>;
  writing<T>(key: string, transaction: () => Promise<T | Loaded<T>>, options?: ReadOptions): Promise<T>;
  set<T>(key: string, value: T, options: { version: number; kind?: string | Kind }): Promise<boolean>;
}
export class L1 {
  constructor(options?: { entries?: number; ttl?: number; stamp?: string; version?: string });
  /** Listen on a client of its own. */
  listen(subscriber: any): Promise<void>;
  close(): void;
}
export class CacheError extends Error {}
export class CacheUnavailable extends CacheError {}
export class LoadsExhausted extends CacheError {}
export class NotFound extends CacheError {}
export class UnsafeSet extends CacheError {}
export function render(template: string, values: Record<string, unknown>): string;
export function event(type: string, data: unknown): string;
export function publish(client: any, channel: string, type: string, data: unknown): Promise<unknown>;
export function publishToStream(client: any, stream: string, type: string, data: unknown, options?: { maxlen?: number }): Promise<unknown>;
