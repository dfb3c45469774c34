// The driver of Node's client: reads requests from stdin, and answers on stdout.
import { createInterface } from "node:readline";
import { Cache, L1, render } from "./index.js";
import { framed, headOf, idOf, lineOf } from "./lib/entry.js";

const [url, library = "ioredis"] = process.argv.slice(2).reverse();
const kinds = { default: { lease: 2000, wait: 20_000 } };
const cache = new Cache(await connect(url, library), { kinds, timeout: 10_000 });
const given = new Map();
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

const call = (id) => new Promise((resolve) => {
  given.set(id, resolve);
  say({ id, call: true });
});

const VERBS = {
  hello: () => "node",
  hits: () => cache.stats.hits,
  kept: () => cache.stats.l1,
  keep: async () => {
    kinds.default.l1Ttl = 60_000;
    cache.l1 = new L1();
    await cache.l1.listen(await connect(url, library));
  },
  read: ({ id, key, tags, versions }) => cache.getOrLoad(key, () => call(id), { tags, versions }),
  write: ({ id, key, tags, versions }) => cache.writing(key, () => call(id), { tags, versions }),
  invalidate: ({ names }) => cache.invalidate(...names),
  invalidate_tags: ({ names }) => cache.invalidateTags(...names),
  bump: ({ names }) => cache.bump(...names),
  render: ({ template, values }) => render(template, values),
  frame: ({ payload, line, fresh_until: freshUntil, ...fields }) => {
    const names = line.filter((_, at) => at % 2 === 0), stamps = line.filter((_, at) => at % 2);
    const made = { ...fields, payload: Buffer.from(payload, "base64"), line: lineOf(names, stamps), freshUntil };
    return framed(made).toString("base64");
  },
  head: ({ entry }) => {
    const head = headOf(Buffer.from(entry, "base64")), lease = head && !head.lease.startsWith("~") ? head : null;
    return { id: idOf(head), lease: lease?.lease ?? null, lease_until: lease?.leaseUntil ?? null };
  },
};

/** JSON with integers of 64 bits, which JSON.parse rounds. */
function parse(line) {
  const marked = line.replace(/(:\s*)(-?\d{16,})(?=\s*[,}\]])/g, '$1"big:$2"');
  return JSON.parse(marked, (_, value) =>
    typeof value === "string" && value.startsWith("big:") ? BigInt(value.slice(4)) : value);
}

async function connect(address, name) {
  const { hostname: host, port } = new URL(address.replace("redis+cluster:", "redis:"));
  const isCluster = address.startsWith("redis+cluster:");
  if (name === "ioredis") {
    const { default: Redis } = await import("ioredis");
    return isCluster ? new Redis.Cluster([{ host, port }]) : new Redis(Number(port), host);
  }
  const { createClient, createCluster } = await import("redis");
  const plain = { url: `redis://${host}:${port}` };
  const client = isCluster ? createCluster({ rootNodes: [plain] }) : createClient(plain);
  await client.connect();
  return client;
}

for await (const line of createInterface({ input: process.stdin })) {
  const { do: verb, give, ...message } = parse(line);
  if (verb === undefined) {
    given.get(message.id)(give);
    given.delete(message.id);
    continue;
  }
  Promise.resolve().then(() => VERBS[verb](message)).then(
    (done) => say({ id: message.id, done: done ?? null }),
    (error) => say({ id: message.id, error: `${error.name}: ${error.message}` }));
}
process.exit(0);
