// Names of entries, rendered from templates as the rules of the daemon render them.
import { createHash } from "node:crypto";

const MOST = 1024; // characters of a name
const SLOT = /\{([^{}]*)\}/g;
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

// As every reader counts it: String.trim would take the byte order mark, too.
const SPACE = /^[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+|[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$/g;

const hashed = (algorithm) => (text) => createHash(algorithm).update(text).digest("hex");
const FILTERS = {
  lower: (text) => text.toLowerCase(),
  upper: (text) => text.toUpperCase(),
  trim: (text) => text.replace(SPACE, ""),
  segment: (text) => text.replaceAll("%", "%25").replaceAll(":", "%3A"),
  urlencode: (text) => encodeURIComponent(text).replace(/[!'()*]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`),
  md5: hashed("md5"), sha1: hashed("sha1"), sha256: hashed("sha256"),
};

/** Render a template such as `order:single:{id}` or `user:{name|lower|segment}`. */
export function render(template, values) {
  const name = template.replace(SLOT, (_, slot) => filled(template, slot, values));
  check(name);
  return name;
}

function filled(template, slot, values) {
  const [head, ...filters] = slot.split("|").map((part) => part.trim());
  const [path, fallback] = head.split(":-");
  let value = path.split(".").reduce((at, step) => at?.[step], values);
  if ((value === undefined || value === null || value === "") && fallback !== undefined) value = fallback;
  return filters.reduce((text, filter) => applied(template, filter, text), textOf(template, path, value));
}

function applied(template, filter, text) {
  const [, name, count] = /^(\w+)(?:\((\d+)\))?$/.exec(filter) ?? [];
  if (name === "first" && count) return [...text].slice(0, Number(count)).join("");
  if (!FILTERS[name]) throw new TypeError(`${template}: no filter is called ${filter}`);
  const made = FILTERS[name](text);
  if (!made) throw new TypeError(`${template}: the value is empty after ${name}`);
  return made;
}

function textOf(template, path, value) {
  if (typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (Number.isSafeInteger(value)) return String(value);
  if (typeof value === "number") {
    throw new TypeError(`${template}: ${path} is ${value}: write integers beyond 53 bits as BigInt, and no fractions`);
  }
  if (typeof value !== "string" || value === "") throw new TypeError(`${template}: ${path} is ${value === "" ? "empty" : value}`);
  if (CONTROL.test(value)) throw new TypeError(`${template}: ${path} has a control character`);
  return value;
}

/** Throw unless this may be the name of an entry. */
export function check(name) {
  if (!name || [...name].length > MOST || CONTROL.test(name)) {
    throw new TypeError(`an entry's name has 1 to ${MOST} characters, none of control: ${JSON.stringify(name)}`);
  }
  if (name.startsWith("invalidator:")) throw new TypeError(`names that begin with invalidator: are its own: ${name}`);
}
