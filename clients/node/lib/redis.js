// One interface for both clients of Redis, standalone and cluster. Replies are Buffers and numbers.
import { CacheUnavailable } from "./errors.js";
import { SCRIPTS } from "./scripts.js";

const FAILURES = 5; // in a row; then Redis is left alone for a moment
const SHORTEST = 1000, LONGEST = 5000; // milliseconds

export class Redis {
  #call;
  #timeout;
  #failures = 0;
  #openUntil = 0;

  constructor(client, timeout) {
    this.#call = callOf(client);
    if (!client.listenerCount("error")) client.on("error", () => {}); // else a lost connection ends the process
    this.#timeout = timeout;
  }

  /** Run a command; its first key is for clusters. */
  async run(key, ...words) {
    this.#admit();
    try {
      const reply = await within(this.#timeout, this.#call(key, words.map(String8)));
      this.#failures = this.#openUntil = 0;
      return reply;
    } catch (error) {
      if (isReply(error)) {
        this.#failures = this.#openUntil = 0;
        throw error;
      }
      this.#failed();
      throw new CacheUnavailable(error.message, { cause: error });
    }
  }

  async script(name, key, ...more) {
    const { source, sha } = SCRIPTS[name];
    try {
      return await this.run(key, "EVALSHA", sha, 1, key, ...more);
    } catch (error) {
      if (!/^NOSCRIPT/.test(error.message)) throw unavailable(error);
      return this.run(key, "EVAL", source, 1, key, ...more);
    }
  }

  #admit() {
    if (Date.now() < this.#openUntil) throw new CacheUnavailable("Redis has not answered, and is not asked for a moment");
    if (this.#openUntil) this.#openUntil = Date.now() + SHORTEST; // this caller looks alone
  }

  #failed() {
    this.#failures += 1;
    if (this.#failures >= FAILURES || this.#openUntil) {
      this.#openUntil = Date.now() + SHORTEST + Math.random() * (LONGEST - SHORTEST);
    }
  }
}

const String8 = (word) => (Buffer.isBuffer(word) ? word : String(word));
/** Redis answered, with an error: it is not down. */
const isReply = (error) => error.name === "ReplyError" || error.constructor?.name === "ErrorReply"
  || error.constructor?.name === "SimpleError" || /^[A-Z]{4,} /.test(error.message ?? "");
const unavailable = (error) => error instanceof CacheUnavailable
  ? error : new CacheUnavailable(error.message, { cause: error });

function callOf(client) {
  if (typeof client.callBuffer === "function") { // ioredis, also its Cluster
    return (_, words) => client.callBuffer(...words);
  }
  const options = { typeMapping: { 36: Buffer }, returnBuffers: true }; // node-redis 5, and 4
  if (Array.isArray(client.masters)) { // its cluster
    return (key, words) => client.sendCommand(key, false, words, options);
  }
  return (_, words) => client.sendCommand(words, options);
}

async function within(milliseconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no reply from Redis within ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
