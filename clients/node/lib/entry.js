// An entry: one Redis string with a header of 99 bytes, a line of stamps, and the value.
import { randomBytes } from "node:crypto";

export const HEAD = 99;
const NO_TOKEN = "-".repeat(16), NEVER = "0".repeat(13);
export const HIT = "hit", EARLY = "early", STALE = "stale", EXPIRED = "expired", BUSY = "busy", MISS = "miss";
const MISSING_ROW = "missing";

export const newToken = () => randomBytes(12).toString("base64url");
export const writerToken = () => `~${newToken().slice(1)}`;

/** The header's fields; null where this is no entry of ours. */
export function headOf(entry) {
  if (!entry || entry.length < HEAD || entry.toString("latin1", 0, 4) !== "!i1 ") return null;
  const text = entry.toString("latin1", 0, HEAD);
  return {
    state: text[4], codec: text[5], packing: text[6], schema: text.slice(8, 12),
    id: text.slice(13, 29), lease: text.slice(30, 46), leaseUntil: Number(text.slice(47, 60)),
    freshUntil: Number(text.slice(61, 74)), row: text.slice(75, 91), took: Number(text.slice(92, 98)),
  };
}

/** The id of an entry's value; empty where it has none. */
export const idOf = (head) => (head && head.state !== "L" ? head.id : "");

/** The line of stamps as it must be now; null where one of them is missing. */
export function lineOf(names, stamps) {
  if (!names.length) return "";
  if (stamps.some((stamp) => stamp === null || stamp === undefined)) return null;
  const pairs = names.map((name, at) => `${JSON.stringify(name)},${JSON.stringify(String(stamps[at]))}`);
  return `[${pairs.join(",")}]`;
}

/** The names that an entry's line lists; null where it is no value. */
export function listedIn(entry, head) {
  if (!head || head.state === "L") return null;
  const line = entry.toString("utf8", HEAD, entry.indexOf(10, HEAD));
  if (!line) return [];
  try {
    return JSON.parse(line).filter((_, at) => at % 2 === 0);
  } catch {
    return null;
  }
}

/** What a reader does with what it found; `now` is in milliseconds of Redis's clock. */
export function judge(entry, head, line, now, policy) {
  if (!head) return MISS;
  const held = head.leaseUntil > now, writes = head.lease.startsWith("~");
  if (head.state === "L") return held && !writes ? BUSY : MISS;
  if (line === null || head.schema !== policy.schema) return MISS;
  const stands = Buffer.from(`${line}\n`);
  if (entry.compare(stands, 0, stands.length, HEAD, HEAD + stands.length) !== 0) return MISS;
  const left = head.freshUntil - now;
  if (left > 0) {
    const early = left < -Math.log(1 - Math.random()) * head.took * policy.early;
    return early && !held ? EARLY : HIT;
  }
  if (left > -policy.swr) return held ? HIT : STALE;
  if (left > -policy.staleIfError) {
    if (!held || writes) return EXPIRED;
    return head.lease === NO_TOKEN ? HIT : BUSY; // the last load has just failed
  }
  return MISS;
}

/** Where the value begins, behind a line. */
export const valueOf = (entry, line) => entry.subarray(HEAD + Buffer.byteLength(line) + 1);
export const isMissingRow = (payload) => payload.toString() === MISSING_ROW;

const digits = (value, width) => String(Math.round(value)).padStart(width, "0");

export function framed({ payload, codec = "J-", token, line, freshUntil, schema, absent = false, missing = false, row = 0, took = 0 }) {
  const head = `!i1 ${absent ? "N" : "V"}${codec} ${schema} ${token} ${NO_TOKEN} ${NEVER} ` +
    `${digits(freshUntil, 13)} ${digits(row, 16)} ${digits(Math.min(took, 999_999), 6)}\n${line}\n`;
  return Buffer.concat([Buffer.from(head), missing ? Buffer.from(MISSING_ROW) : payload]);
}
