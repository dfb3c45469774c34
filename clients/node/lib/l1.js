// Entries in this process's memory, kept honest by what the daemons announce (docs/backplane.md).
const QUIET = 3000; // milliseconds after which every daemon has been heard
const CHANNEL = "invalidator:applied";

export class L1 {
  /** `subscriber` is a client of its own: an ioredis or a connected node-redis one. */
  constructor({ entries = 10_000, ttl = 30_000, stamp = "invalidator:stamp:{tag}", version = "cache:version:{name}" } = {}) {
    Object.assign(this, { most: entries, ttl, stamp, version });
    this.kept = new Map(); // key: { value, names, until }
    this.marks = new Map(); // of reads under way
    this.senders = new Map(); // "instance epoch": its last number
    this.on = false; // whether anything may be kept
    this.period = 0; // a read of another period fills nothing
  }

  // --- reads --------------------------------------------------------------------------------

  /** Register a read before its command is sent; null where nothing may be kept. */
  mark(names, policy) {
    if (!this.on || !policy.l1Ttl) return null;
    const mark = { key: names.key, names: names.declared, alive: true, period: this.period, ttl: policy.l1Ttl };
    this.marks.set(mark, mark);
    return mark;
  }

  unmark(mark) {
    if (mark) this.marks.delete(mark);
  }

  get(key) {
    const found = this.on ? this.kept.get(key) : undefined;
    if (!found) return null;
    if (performance.now() < found.until) return found.value;
    this.kept.delete(key);
    return null;
  }

  fill(mark, key, names, value, left) {
    if (!mark?.alive || !this.on || mark.period !== this.period) return;
    if (names.length !== mark.names.length) return; // no mark was there for those that the load added
    this.kept.delete(key);
    if (this.kept.size >= this.most) this.kept.delete(this.kept.keys().next().value);
    this.kept.set(key, { value, names, until: performance.now() + Math.min(mark.ttl, this.ttl, left) });
  }

  // --- invalidations ------------------------------------------------------------------------

  forget(kind, names) {
    const matches = kind === "patterns" ? names.map(globOf) : null;
    const gone = new Set(names);
    const hit = (each, key) => matches ? matches.some((glob) => glob.test(key))
      : gone.has(key) || each.names.some((name) => gone.has(name));
    for (const mark of this.marks.values()) if (hit(mark, mark.key)) mark.alive = false;
    if (kind === "keys") names.forEach((name) => this.kept.delete(name));
    else for (const [key, each] of this.kept) if (hit(each, key)) this.kept.delete(key);
  }

  /** Forget everything, and keep nothing for so many milliseconds. */
  gap(quiet = 0) {
    this.kept.clear();
    for (const mark of this.marks.values()) mark.alive = false;
    this.period += 1;
    if (!quiet) return;
    this.on = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.period += 1; this.on = true; }, quiet);
    this.timer.unref?.();
  }

  /** Listen on a connection of its own. */
  async listen(subscriber) {
    this.gap(QUIET);
    const lost = () => { this.on = false; clearTimeout(this.timer); this.gap(); };
    for (const name of ["close", "end", "error", "reconnecting"]) subscriber.on(name, lost);
    subscriber.on("ready", () => { this.returned(); });
    if (typeof subscriber.callBuffer === "function") {
      subscriber.on("message", (_, text) => this.hear(text));
      await subscriber.subscribe(CHANNEL);
    } else {
      await subscriber.subscribe(CHANNEL, (text) => this.hear(text));
    }
    this.ping = setInterval(() => this.#check(subscriber, lost), 1000);
    this.ping.unref?.();
  }

  close() {
    clearInterval(this.ping);
    clearTimeout(this.timer);
    this.on = false;
  }

  /** Connected again: daemons that were known must be heard, else they may have ended unheard. */
  returned() {
    this.gap(QUIET);
    this.senders.clear();
  }

  async #check(subscriber, lost) {
    const late = new Promise((_, reject) => { setTimeout(reject, QUIET).unref?.(); });
    try {
      await Promise.race([subscriber.ping(), late]);
    } catch {
      lost();
      this.returned();
    }
  }

  hear(text) {
    let said;
    try {
      said = JSON.parse(text);
    } catch {
      return;
    }
    if (said.v !== 1) return;
    const sender = `${said.instance} ${said.epoch}`, known = this.senders.get(sender), applied = said.type === "applied";
    const expected = known === undefined ? (applied ? 1 : 0) : known + (applied ? 1 : 0);
    if (said.seq > expected) this.gap();
    this.senders.set(sender, Math.max(known ?? 0, said.seq));
    if (said.type === "bye") this.senders.delete(sender);
    if (applied) this.forget(said.kind, this.#namesOf(said.kind, said.names));
  }

  #namesOf(kind, names) {
    if (kind === "tags") return names.map((tag) => this.stamp.replace("{tag}", () => tag));
    if (kind === "versions") return names.map((name) => this.version.replace("{name}", () => name));
    return names;
  }
}

/** A glob of Redis as a regular expression. */
function globOf(glob) {
  const made = glob.replace(/\\(.)|\*+|\?|\[(\^?)((?:\\.|[^\]\\])*)\]|([.+^${}()|/])/gs,
    (found, escaped, not, set, plain) => {
      if (escaped !== undefined) return escaped.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
      if (set !== undefined) return `[${not}${set.replace(/[[\]]/g, "\\$&")}]`;
      if (plain) return `\\${plain}`;
      return found === "?" ? "." : ".*";
    });
  return new RegExp(`^${made}$`, "s");
}
