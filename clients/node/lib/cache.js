// The way of a read. Read the specification first: docs/read-side.md of invalidator.
import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import {
  BUSY, EARLY, EXPIRED, HIT, MISS, STALE, framed, headOf, idOf, isMissingRow, judge, lineOf, listedIn,
  newToken, valueOf, writerToken,
} from "./entry.js";
import { CacheError, CacheUnavailable, LoadsExhausted, NotFound, UnsafeSet } from "./errors.js";
import { check } from "./names.js";
import { Redis } from "./redis.js";
import { CHANGED, DONE, FOREIGN, GRANTED } from "./scripts.js";

const RECORD = 6; // leases that a lease's record lives: a slow load may still be put
const SHORTEST_LEASE = 1000, FIRST_POLL = 2, LAST_POLL = 100, PERMIT = 100; // milliseconds
const KIND = {
  ttl: 300_000, jitter: 0.1, swr: 0, staleIfError: 0, early: 1, negativeTtl: 30_000, lease: 10_000,
  wait: 15_000, cooldown: 1000, schema: 0, maxBytes: 1 << 20, l1Ttl: 0,
};
const JSON_CODEC = {
  mark: "J", encode: (value) => Buffer.from(JSON.stringify(value)), decode: (bytes) => JSON.parse(bytes.toString()),
};

/** A loaded value, with what only the value knows. */
export class Loaded {
  constructor(value, { ttl, version = 0, tags = [] } = {}) {
    Object.assign(this, { value, ttl, version, tags });
  }
}

/** What a loader may say while it loads. */
class Context {
  constructor(take) {
    this.take = take; // null: nothing is cached
    this.noted = [];
    this.cacheable = take !== null;
  }

  /** Make the entry depend on tags; called before what depends on them is read. */
  async tag(...tags) {
    if (!this.take) return;
    try {
      this.noted.push(...await this.take(tags));
    } catch (error) {
      if (!(error instanceof CacheUnavailable)) throw error;
      this.cacheable = false;
    }
  }
}

export class Cache {
  constructor(client, { prefix = "", kinds = {}, codec = JSON_CODEC, loads = 64, timeout = 1000, l1 = null,
    stamp = "invalidator:stamp:{tag}", version = "cache:version:{name}" } = {}) {
    this.stats = { hits: 0, stale: 0, loads: 0, shared: 0, waits: 0, alone: 0, bypassed: 0, failed: 0, puts: 0, refused: 0, older: 0, l1: 0 };
    Object.assign(this, { prefix, codec, l1, stamp, version });
    this.redis = new Redis(client, timeout);
    this.kinds = kinds;
    this.free = loads; // permits for loads without caching
    this.flights = new Map(); // by the lease's token
    this.extras = new Map(); // by key: names that the entry's last load added
    this.skew = 0; // milliseconds that the clock of Redis is ahead
    this.loading = new AsyncLocalStorage(); // the tokens of the loads that the caller is a part of
  }

  now() {
    return Date.now() + this.skew;
  }

  policy(kind = {}) {
    const own = typeof kind === "string" ? this.kinds[kind] : kind;
    if (!own) throw new TypeError(`no kind is called ${kind}`);
    const policy = { ...KIND, ...this.kinds.default, ...own };
    return { ...policy, schema: String(policy.schema).padStart(4, "0") };
  }

  #names(key, { tags = [], versions = [] } = {}) {
    const full = this.prefix + key;
    check(full);
    return { key: full, declared: [...tags.map((tag) => this.#stampOf(tag)), ...versions.map((name) => this.#versionOf(name))] };
  }

  #stampOf(tag) { return this.stamp.replace("{tag}", () => tag); }
  #versionOf(name) { return this.version.replace("{name}", () => name); }
  #isVersion(name) { return name.startsWith(this.version.split("{")[0]); }

  // --- reading ------------------------------------------------------------------------------

  /** Return an entry's value, from the cache or from its loader: `async (ctx) => value`. */
  async getOrLoad(key, loader, options = {}) {
    const names = this.#names(key, options), policy = this.policy(options.kind);
    const mark = this.l1?.mark(names, policy);
    const kept = this.l1?.get(names.key);
    if (kept) {
      this.stats.l1 += 1;
      return this.#decoded(kept);
    }
    try {
      const outcome = await this.#read(names, policy, loader, mark);
      if (outcome.error) throw outcome.error;
      return outcome.value;
    } catch (error) {
      if (!(error instanceof CacheUnavailable)) throw error;
      this.stats.bypassed += 1;
      return this.#alone(loader);
    } finally {
      this.l1?.unmark(mark);
    }
  }

  async #read(names, policy, loader, mark) {
    const giveUp = performance.now() + policy.wait;
    let added = this.extras.get(names.key) ?? [], held = false;
    for (;;) {
      const all = [...names.declared, ...added];
      const [entry, ...stamps] = await Promise.all([names.key, ...all].map((name) => this.#get(name)));
      const head = headOf(entry), listed = listedIn(entry, head);
      if (listed && isLonger(listed, names.declared, added)) {
        added = listed.slice(names.declared.length);
        this.#learn(names.key, added);
        continue;
      }
      const line = lineOf(all, stamps);
      let verdict = judge(entry, head, line, this.now(), policy), kept = null;
      if (verdict !== MISS && head.state !== "L") {
        kept = this.#outcomeOf(head, valueOf(entry, line));
        if (!kept) verdict = MISS;
      }
      if (verdict === HIT) {
        this.stats.hits += 1;
        this.l1?.fill(mark, names.key, all, { head, payload: valueOf(entry, line) }, head.freshUntil - this.now());
        return kept;
      }
      if (verdict === BUSY) {
        const outcome = await this.#busy(names, head, line, kept, giveUp, loader);
        if (outcome) return this.#bridged(outcome, kept, policy);
        continue;
      }
      if (held && head && (!kept || verdict === EXPIRED) && head.leaseUntil > this.now()) {
        held = false;
        await this.#wait(names.key, head.lease, Math.min(giveUp - performance.now(), head.leaseUntil - this.now() + 1));
        continue;
      }
      const usable = verdict === EARLY || verdict === STALE;
      const token = newToken();
      const { granted, taken } = await this.#lease(names.key, all, token, policy, head, kept ? "refresh" : "miss");
      if (granted === GRANTED) {
        const outcome = await this.#lead(names, all, taken, token, policy, loader, mark);
        return this.#bridged(outcome, kept, policy);
      }
      if (usable) {
        this.stats[verdict === EARLY ? "hits" : "stale"] += 1;
        return kept;
      }
      if (granted === FOREIGN || performance.now() >= giveUp) return this.#withoutCaching(loader);
      held = granted !== CHANGED;
    }
  }

  async #get(name) {
    try {
      return await this.redis.run(name, "GET", name);
    } catch (error) {
      if (/^WRONGTYPE/.test(error.message)) return null;
      throw error;
    }
  }

  /** The value of an entry; null where it cannot be decoded: it is a miss then. */
  #outcomeOf(head, payload) {
    try {
      return { value: this.#decoded({ head, payload }) };
    } catch (error) {
      return error instanceof NotFound ? { error } : null;
    }
  }

  #decoded({ head, payload }) {
    if (head.state === "N") {
      if (isMissingRow(payload)) throw new NotFound("there is no such row");
      return null;
    }
    if (head.packing !== "-" || head.codec !== this.codec.mark) throw new CacheError("another codec");
    return this.codec.decode(payload);
  }

  /** An old value may stand in for a load that failed. */
  #bridged(outcome, kept, policy) {
    const failed = outcome.error && !(outcome.error instanceof NotFound);
    if (!failed || !kept || !policy.staleIfError) return outcome;
    this.stats.stale += 1;
    return kept;
  }

  async #busy(names, head, line, kept, giveUp, loader) {
    if (this.loading.getStore()?.includes(head.lease)) {
      throw new CacheError(`the loader of ${names.key} reads the entry that it loads`);
    }
    const left = giveUp - performance.now();
    if (left <= 0) return kept ?? this.#withoutCaching(loader);
    const flight = this.flights.get(head.lease);
    if (flight && line !== null && flight.line === line) {
      this.stats.shared += 1;
      const outcome = await Promise.race([flight.outcome, sleep(left, null, { ref: false })]);
      return outcome?.shared ? outcome : null;
    }
    this.stats.waits += 1;
    await this.#wait(names.key, head.lease, Math.min(left, Math.max(0, head.leaseUntil - this.now()) + 1));
    return null;
  }

  async #wait(key, token, milliseconds) {
    const until = performance.now() + milliseconds;
    for (let pause = FIRST_POLL; performance.now() < until; pause = Math.min(pause * 1.5, LAST_POLL)) {
      await sleep(pause);
      const now = await this.redis.run(key, "GETRANGE", key, 30, 45);
      if (String(now) !== token) return;
    }
  }

  async #withoutCaching(loader) {
    this.stats.alone += 1;
    return { value: await this.#alone(loader) };
  }

  async #alone(loader) {
    for (const until = performance.now() + PERMIT; this.free <= 0;) {
      if (performance.now() >= until) throw new LoadsExhausted("too many loads run without caching");
      await sleep(5);
    }
    this.free -= 1;
    try {
      const value = await loader(new Context(null));
      return value instanceof Loaded ? value.value : value;
    } finally {
      this.free += 1;
    }
  }

  #learn(key, added) {
    if (!added.length) this.extras.delete(key);
    else {
      if (this.extras.size >= 10_000) this.extras.delete(this.extras.keys().next().value);
      this.extras.set(key, added);
    }
  }

  // --- loading ------------------------------------------------------------------------------

  /** Ask for the lease, and take every stamp and version, before anything is loaded. */
  async #lease(key, stamps, token, policy, head, mode) {
    const length = head && idOf(head)
      ? Math.min(Math.max(4 * head.took, Math.min(SHORTEST_LEASE, policy.lease)), policy.lease) : policy.lease;
    const asked = Date.now();
    const [reply, taken] = await Promise.all([
      this.redis.script("lease", key, token, Math.round(length), Math.round(RECORD * length), mode === "write" ? "" : idOf(head), mode),
      this.#take(stamps, policy),
    ]);
    this.skew = Number(reply[1]) - (asked + Date.now()) / 2;
    return { granted: Number(reply[0]), taken };
  }

  async #take(names, policy) {
    const stamps = await Promise.all(names.map((name) => this.#isVersion(name)
      ? this.redis.script("version", name)
      : this.redis.script("stamp", name, newToken(), stampMs(policy))));
    return new Map(names.map((name, at) => [name, String(stamps[at])]));
  }

  /** Load in a flight that others of this process may join. */
  #lead(names, all, taken, token, policy, loader, mark) {
    const line = lineOf(all, all.map((name) => taken.get(name)));
    const within = [...(this.loading.getStore() ?? []), token];
    const outcome = this.loading.run(within, () => this.#load(names, taken, token, policy, loader, mark))
      .catch((error) => ({ error, shared: true }));
    this.flights.set(token, { line, outcome });
    return outcome.finally(() => this.flights.delete(token));
  }

  async #load(names, taken, token, policy, loader, mark) {
    this.stats.loads += 1;
    const began = performance.now();
    let context, loaded, missing = null;
    const take = async (tags) => {
      const wanted = tags.map((tag) => this.#stampOf(tag));
      const fresh = wanted.filter((name) => !taken.has(name));
      for (const [name, stamp] of await this.#take(fresh, policy)) taken.set(name, stamp);
      return wanted;
    };
    try {
      for (let round = 0; round < 2; round++) {
        context = new Context(take);
        [loaded, missing] = await call(loader, context);
        const unknown = loaded.tags.map((tag) => this.#stampOf(tag)).filter((name) => !taken.has(name));
        await context.tag(...loaded.tags);
        if (!unknown.length) break; // else load again: a stamp must be taken before the load
        if (round) context.cacheable = false;
      }
    } catch (error) {
      this.stats.failed += 1;
      await this.#release(names.key, token, policy.cooldown);
      throw error;
    }
    const outcome = { value: loaded.value, error: missing ?? undefined, shared: context.noted.length === 0 };
    if (!context.cacheable) {
      await this.#release(names.key, token, 0);
      return outcome;
    }
    const added = [...new Set(context.noted)].filter((name) => !names.declared.includes(name));
    this.#learn(names.key, added);
    const all = [...names.declared, ...added];
    const line = lineOf(all, all.map((name) => taken.get(name)));
    const put = await this.#put(names.key, token, loaded, missing, line, policy, performance.now() - began);
    if (put.done) this.l1?.fill(mark, names.key, all, put.kept, put.left);
    return outcome;
  }

  async #put(key, token, loaded, missing, line, policy, took) {
    const { entry, ttl, kept, left } = this.#framed(loaded, missing, token, line, policy, took);
    if (ttl <= 0 || entry.length > policy.maxBytes) {
      await this.#release(key, token, 0);
      return { done: false };
    }
    try {
      const reply = Number(await this.redis.script("put", key, token, entry, Math.round(ttl)));
      this.stats[reply === DONE ? "puts" : reply === 2 ? "older" : "refused"] += 1;
      return { done: reply === DONE, kept, left };
    } catch (error) {
      if (!(error instanceof CacheUnavailable)) throw error;
      return { done: false };
    }
  }

  #framed(loaded, missing, token, line, policy, took = 0) {
    const absent = missing !== null || loaded.value === null || loaded.value === undefined;
    const fresh = absent ? policy.negativeTtl : (loaded.ttl ?? policy.ttl) * (1 - policy.jitter * Math.random());
    const ttl = absent ? fresh : fresh > 0 ? fresh + Math.max(policy.swr, policy.staleIfError) : 0;
    const payload = absent ? Buffer.from("null") : this.codec.encode(loaded.value);
    const entry = framed({
      payload, codec: `${absent ? "J" : this.codec.mark}-`, token, line, freshUntil: this.now() + fresh, schema: policy.schema,
      absent, missing: missing !== null, row: loaded.version, took,
    });
    const head = headOf(entry);
    return { entry, ttl, left: fresh, kept: { head, payload: missing !== null ? Buffer.from("missing") : payload } };
  }

  async #release(key, token, pause) {
    try {
      await this.redis.script("release", key, token, Math.round(pause));
    } catch (error) {
      if (!(error instanceof CacheUnavailable)) throw error;
    }
  }

  /** Return what is cached, or undefined; never load. */
  async peek(key, options = {}) {
    const names = this.#names(key, options), policy = this.policy(options.kind);
    const found = await this.#get(names.key), head = headOf(found), listed = listedIn(found, head);
    const all = listed && isLonger(listed, names.declared, []) ? listed : names.declared;
    const line = lineOf(all, await Promise.all(all.map((name) => this.#get(name))));
    const verdict = judge(found, head, line, this.now(), { ...policy, early: 0 });
    if (![HIT, STALE].includes(verdict) || head.state === "L") return undefined;
    const outcome = this.#outcomeOf(head, valueOf(found, line));
    if (outcome?.error) throw outcome.error;
    return outcome?.value;
  }

  // --- invalidating -------------------------------------------------------------------------

  /** Delete entries. Throws CacheUnavailable if they may still be there. */
  async invalidate(...keys) {
    const full = keys.map((key) => this.prefix + key);
    this.l1?.forget("keys", full);
    await this.#all(full.map((key) => this.redis.run(key, "UNLINK", key)));
    this.l1?.forget("keys", full);
  }

  async invalidateTags(...tags) {
    const stamps = tags.map((tag) => this.#stampOf(tag));
    this.l1?.forget("names", stamps);
    await this.#all(stamps.map((name) => this.redis.run(name, "UNLINK", name)));
    this.l1?.forget("names", stamps);
  }

  async bump(...versions) {
    const names = versions.map((name) => this.#versionOf(name));
    this.l1?.forget("names", names);
    await this.#all(names.map((name) => this.redis.script("bump", name)));
    this.l1?.forget("names", names);
  }

  /** End values' freshness: they stay for those who may serve stale values. */
  async expire(...keys) {
    const full = keys.map((key) => this.prefix + key);
    await this.#all(full.map((key) => this.redis.script("expire", key)));
    this.l1?.forget("keys", full);
  }

  async #all(promises) {
    const failed = (await Promise.allSettled(promises)).find((each) => each.status === "rejected");
    if (failed) throw failed.reason;
  }

  // --- writing through ----------------------------------------------------------------------

  /** Run a transaction around an entry's row; what it returns is filled, or dropped if anybody interfered. */
  async writing(key, transaction, options = {}) {
    const names = this.#names(key, options), policy = this.policy(options.kind), token = writerToken();
    let taken = null;
    try {
      ({ taken } = await this.#lease(names.key, names.declared, token, policy, null, "write"));
    } catch (error) {
      if (!(error instanceof CacheUnavailable)) throw error; // the entry is dropped afterwards
    }
    let value;
    try {
      value = await transaction();
    } catch (error) {
      await this.invalidate(key).catch(() => {}); // whether it was committed is unknown
      throw error;
    }
    const loaded = value instanceof Loaded ? value : new Loaded(value);
    const known = loaded.tags.every((tag) => names.declared.includes(this.#stampOf(tag)));
    if (!taken || !known || this.extras.get(names.key)?.length) {
      await this.invalidate(key);
      return loaded.value;
    }
    const line = lineOf(names.declared, names.declared.map((name) => taken.get(name)));
    const { entry, ttl } = this.#framed(loaded, null, token, line, policy);
    const parts = names.declared.map((name) => `${JSON.stringify(name)},"`);
    if (ttl <= 0 || entry.length > policy.maxBytes) await this.invalidate(key);
    else await this.redis.script("finish", names.key, token, entry, Math.round(ttl), ...parts);
    this.l1?.forget("keys", [names.key]);
    return loaded.value;
  }

  /** Replace an older value that is cached, by the row's version; else drop what is there. */
  async set(key, value, { version, kind } = {}) {
    if (!version) throw new UnsafeSet();
    const names = this.#names(key), policy = this.policy(kind);
    const { entry, ttl } = this.#framed(new Loaded(value, { version }), null, newToken(), "", policy);
    const row = String(version).padStart(16, "0");
    const reply = await this.redis.script("replace", names.key, row, entry, Math.round(ttl));
    this.l1?.forget("keys", [names.key]);
    return Number(reply) === 1;
  }

  /** Delete an entry, and load it anew. */
  async refresh(key, loader, options = {}) {
    await this.invalidate(key);
    return this.getOrLoad(key, loader, options);
  }
}

const stampMs = (policy) => Math.round(2 * (policy.ttl + Math.max(policy.swr, policy.staleIfError)));

/** Whether an entry lists the declared names and others than those that were read. */
function isLonger(listed, declared, added) {
  if (!declared.every((name, at) => listed[at] === name)) return false;
  const rest = listed.slice(declared.length);
  return rest.length !== added.length || rest.some((name, at) => name !== added[at]);
}

async function call(loader, context) {
  try {
    const value = await loader(context);
    return [value instanceof Loaded ? value : new Loaded(value), null];
  } catch (error) {
    if (error instanceof NotFound) return [new Loaded(null), error];
    throw error;
  }
}
