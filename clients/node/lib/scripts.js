// The Lua scripts of the protocol: the files are the same in every language.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const read = (name) => {
  const source = readFileSync(new URL(`../scripts/${name}.lua`, import.meta.url), "utf8");
  return { source, sha: createHash("sha1").update(source).digest("hex") };
};

export const SCRIPTS = Object.fromEntries(
  ["lease", "put", "finish", "replace", "release", "expire", "stamp", "version", "bump"]
    .map((name) => [name, read(name)]));

// What LEASE replies first, and what PUT replies.
export const HELD = 0, GRANTED = 1, CHANGED = 2, FOREIGN = 3;
export const REFUSED = 0, DONE = 1, OLDER = 2;
