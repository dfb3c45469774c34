// Polls /status and shows it. Texts are always inserted as text, never as HTML.
"use strict";

const EVERY = 2000; // milliseconds
let answered = 0; // when the daemon last did
const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const rate = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** An element with classes and children, which are elements or texts. */
function make(tag, classes, ...children) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const plural = (n, what) => `${count(n)} ${what}${n === 1 ? "" : what.endsWith("ch") ? "es" : "s"}`;
const code = (text) => make("code", "", text);
const word = (text, mood) => make("span", "word " + mood, text);

function count(value) {
  return value === null || value === undefined ? "unknown" : number.format(value);
}

function perSecond(value) {
  return value > 0 && value < 0.01 ? "< 0.01" : rate.format(value);
}

function span(seconds) {
  if (seconds < 1) return seconds > 0 ? `${Math.ceil(seconds * 1000)} ms` : "0 s";
  if (seconds < 120) return `${rate.format(Math.round(seconds))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

function since(then, now) {
  return `${span(Math.max(0, (Date.parse(now) - Date.parse(then)) / 1000))} ago`;
}

/** Put rows into a table's body; each cell is labelled with its column, for narrow screens. */
function fill(id, rows, nothing) {
  const table = byId(id);
  const labels = [...table.tHead.rows[0].cells];
  const made = rows.map((cells) => make("tr", "", ...cells.map((cell, at) => {
    const inner = make("div", "", ...(Array.isArray(cell) ? cell : [cell]));
    const td = make("td", labels[at].className, inner);
    td.dataset.label = labels[at].textContent;
    return td;
  })));
  if (!made.length) {
    const td = make("td", "empty", nothing);
    td.colSpan = labels.length;
    made.push(make("tr", "", td));
  }
  table.tBodies[0].replaceChildren(...made);
}

// --- status -------------------------------------------------------------------------------

const MOODS = { ready: "good", waiting: "warn", paused: "warn", stuck: "bad" };

function showStatus(status) {
  const badge = byId("badge");
  if (badge.textContent !== status.status) badge.textContent = status.status;
  badge.className = `badge ${MOODS[status.status] || "warn"}`;
  document.title = `${status.status} - invalidator`;
  byId("about").textContent =
    `${status.version}, started ${since(status.started_at, status.now)}` +
    (status.dry_run ? ", dry run: nothing is written" : "");
  showNotices(status);
  showTiles(status);
  showSources(status);
  showCaches(status);
  showFreshness(status);
  showEvents(status);
  showDead(status);
}

function showNotices(status) {
  const found = [];
  for (const name of status.stuck) {
    found.push(["bad", `${name} has settled nothing for three minutes: the daemon should be restarted`]);
  }
  if (status.paused) {
    const why = status.paused.why ? `: ${status.paused.why}` : "";
    const when = since(status.paused.since, status.now);
    const who = status.paused.all ? `All daemons are paused by ${status.paused.who || "a person"}` : "Paused by a person";
    const how = status.paused.all ? "invalidator resume --all" : "invalidator resume";
    found.push(["warn", `${who} ${when}${why}. To resume: ${how}`]);
  }
  for (const {source, topic, why} of status.brake.paused_topics) {
    found.push(["bad", `${source} topic ${topic} is paused: ${why}. ` +
      "Nothing of it is lost. Fix the rule, or resume it: invalidator resume"]);
  }
  const topics = status.brake.paused_topics.length; // the notices above say more than readiness does
  for (const [why, parts] of waitingByReason(status)) {
    if (topics && parts.every((part) => /rules/.test(part))) continue;
    const begun = parts.map((part) => status.waiting_since[part]).filter(Boolean).sort()[0];
    const when = begun ? ` for ${since(begun, status.now).replace(" ago", "")}` : "";
    found.push([parts.some((part) => /redis|dead letters/.test(part)) ? "bad" : "warn",
      `Waiting${when} (${parts.join(", ")}): ${why}`]);
  }
  if (status.rules.rejected.length) {
    found.push(["bad", "The rules on disk are not in force:\n" + status.rules.rejected.join("\n")]);
  }
  const list = byId("notices");
  list.hidden = !found.length;
  list.replaceChildren(...found.map(([mood, text]) => make("li", mood, text)));
}

/** What is waited for, by reason. While Redis is down, all that needs it is one notice. */
function waitingByReason(status) {
  const found = new Map();
  const down = status.waiting.redis;
  for (const [part, why] of Object.entries(status.waiting)) {
    if (part === "intake") continue;
    const needs = down && /^(redis|dead letters|pubsub|stream|sweep)/.test(part);
    const reason = (needs ? down : why).replace(/^\S+: /, ""); // without the name of who waits
    found.set(reason, [...(found.get(reason) || []), part]);
  }
  return found;
}

function sum(values) {
  return values.reduce((all, value) => all + value, 0);
}

function showTiles(status) {
  const sources = status.sources;
  const known = sources.filter((source) => source.lag !== null);
  const flow = flowNow() ?? sum(sources.map((source) => sum(Object.values(source.events_per_second))));
  const oldest = Math.max(0, ...sources.map((source) => source.oldest_unsettled_seconds));
  const sweeps = status.sweeps;
  const tiles = [
    ["Events per second", perSecond(flow), ""],
    ["Behind", known.length ? count(sum(known.map((source) => source.lag))) : "unknown",
      "events not settled"],
    ["Oldest unsettled", span(oldest), ""],
    ["Keys deleted", count(status.keys_existed), "that existed"],
    ["Sweeps", count(sweeps.running),
      status.tickets ? `running; ${plural(status.tickets, "batch")} waiting` : "running"],
    ["Dead letters", count(status.dead_letters.entries), "in the stream"],
    ...status.freshness.filter((result) => result.checks).slice(0, 1).map((result) => [
      `Fresh after ${result.delay}`, plural(result.nines, "nine"), result.says]),
  ];
  byId("tiles").replaceChildren(...tiles.map(([name, value, hint]) =>
    make("div", "", make("dt", "", name),
      make("dd", "", value, hint ? make("span", "hint line", hint) : null))));
}

/** The notices give the reason. */
function state(waiting) {
  if (!waiting) return word("ready", "good");
  return waiting.since ? word("paused", "warn") : word("waiting", "warn");
}

const hasPausedTopic = (status, source) =>
  status.brake.paused_topics.some((each) => each.source === source);

function showSources(status) {
  fill("sources", status.sources.map((source) => [
    make("span", "name", source.name),
    hasPausedTopic(status, source.name) ? word("topic paused", "bad") : state(source.waiting || status.paused),
    perSecond(sum(Object.values(source.events_per_second))),
    source.lag === null ? "unknown" : count(source.lag),
    span(source.oldest_unsettled_seconds),
  ]), "No source");
}

function showCaches(status) {
  fill("caches", status.caches.map((cache) => [
    make("span", "name", cache.name), code(cache.servers.join(", ")), state(cache.waiting),
  ]), "The rules have no cache");
}

/** Only where a rule has verify:. */
function showFreshness(status) {
  byId("freshness-card").hidden = !status.freshness.length;
  fill("freshness", status.freshness.map((result) => [
    result.delay, result.stale ? word(result.says, "bad") : result.says,
    count(sum(Object.values(result.not_counted))),
  ]), "Nothing was checked yet");
}

/** A row for each type, a column for each source. */
function showEvents(status) {
  const sources = status.sources.map((source) => source.name);
  const head = byId("events").tHead.rows[0];
  if (head.cells.length !== sources.length + 2) {
    head.replaceChildren(heading("Type"), ...sources.map((name) => heading(`${name}, per second`, "number")),
      heading("Total", "number"));
  }
  const types = new Map();
  for (const entry of status.events) {
    const row = types.get(entry.type) || { type: entry.type, total: 0, rejected: 0, rates: {} };
    row.total += entry.total;
    row.rejected += entry.outcome === "rejected" ? entry.total : 0;
    row.rates[entry.source] = (row.rates[entry.source] || 0) + entry.per_second;
    types.set(entry.type, row);
  }
  const flow = (row) => sum(Object.values(row.rates));
  const rows = [...types.values()].sort((a, b) => flow(b) - flow(a) || b.total - a.total);
  fill("events", rows.slice(0, 50).map((row) => [
    row.type === "other" ? unmatched(status) : code(row.type),
    ...sources.map((name) => row.rates[name] ? perSecond(row.rates[name]) : ""),
    [count(row.total), row.rejected
      ? make("span", "line", word(`${count(row.rejected)} rejected`, "bad")) : null],
  ]), "No events yet");
}

function heading(text, classes) {
  const made = make("th", classes, text);
  made.scope = "col";
  return made;
}

/** Types that no rule names, as far as they were sampled. */
function unmatched(status) {
  const lines = (status.unmatched || []).map((each) => make("span", "line small",
    code(each.type), each.near_miss ? make("span", "muted", ` ${each.near_miss}`) : null));
  return [make("span", "muted", "named by no rule, or unreadable"), ...lines];
}

function showDead(status) {
  const letters = status.dead_letters;
  byId("dead-about").textContent = letters.entries === null
    ? "Their Redis has not been asked yet."
    : letters.entries ? `${count(letters.entries)} in the stream. Each may mean stale cache entries.`
      : "None: every event that was read could be applied.";
  byId("dead").hidden = !letters.reasons.length;
  fill("dead", letters.reasons.slice(0, 10).map((reason) => [
    [make("span", "line", reason.rule ? make("span", "name", `${reason.rule} `) : null, code(reason.error)),
      reason.what ? make("span", "line small", code(reason.what)) : null,
      make("span", "line small muted", code(
        `invalidator dead list ${reason.rule ? `--rule ${reason.rule}` : `--error ${reason.error}`}`))],
    count(reason.events), since(reason.last, status.now),
  ]), "None");
}

// --- rules --------------------------------------------------------------------------------

let rules = { hash: "", rules: [] };

function showRules(status) {
  byId("rules-about").textContent =
    `${status.rules.hash}, from ${status.rules.path}, read ` +
    `${since(status.rules.loaded_at, status.now)}. Events of a rule are estimated from a ` +
    "sample of large batches; hits come from lookups of sampled names before deletion.";
  const figures = new Map(status.by_rule.map((entry) => [entry.rule, entry]));
  fill("rules", rules.rules.slice(0, 500).map((rule) => {
    const of = figures.get(rule.name);
    return [
      [make("span", "name line", rule.name),
        rule.enabled ? null : word("off", "warn"),
        rule.description ? make("span", "line small muted", rule.description) : null,
        make("span", "line small muted", rule.owner ? `${rule.place}, ${rule.owner}` : rule.place)],
      [...rule.on.map((text) => make("code", "line", text)),
        rule.when ? make("span", "line small", "when ", code(rule.when)) : null,
        rule.sources.length
          ? make("span", "line small muted", `from ${rule.sources.join(", ")}`) : null],
      [...rule.invalidates.map((effect) =>
        make("span", "line", make("span", "kind", `${effect.kind} `), code(effect.template))),
        rule.cache === "default" ? null : make("span", "line small muted", `in ${rule.cache}`),
        rule.repeat_after_seconds
          ? make("span", "line small muted", `again after ${rule.repeat_after_seconds} s`) : null],
      of ? perSecond(of.events_per_second) : "",
      of ? count(of.events) : "",
      of && of.rejected ? word(count(of.rejected), "bad") : of ? "0" : "",
      of ? hits(of) : "",
    ];
  }), "No rule");
}

function hits(figures) {
  if (!figures.looked_up) return make("span", "muted", "not looked up");
  const share = Math.round((100 * figures.existed) / figures.looked_up);
  const never = !figures.existed && figures.looked_up >= 1000;
  return [never ? word("never", "bad") : `${share} %`,
    make("span", "line small muted", `of ${plural(figures.looked_up, "name")}`)];
}

// --- an event -----------------------------------------------------------------------------

function showTold(told) {
  if (told.fault) {
    return [make("p", "notice bad", `The event cannot be read: ${told.fault.message}`)];
  }
  if (told.type === null) {
    return [make("p", "notice", "Nothing to do: the record is a tombstone.")];
  }
  const matched = told.rules.filter((verdict) => verdict.matched);
  const others = told.rules.filter((verdict) => !verdict.matched);
  const names = new Set(matched.flatMap((verdict) =>
    verdict.names.map((name) => JSON.stringify([name.cache, name.kind, name.name]))));
  const made = [
    make("p", "summary", code(told.type), ` would invalidate ${plural(names.size, "name")}`),
    make("ul", "verdicts", ...matched.map(verdictOf))];
  if (others.length) {
    made.push(make("details", "", make("summary", "", `${plural(others.length, "other rule")} would not`),
      make("ul", "verdicts", ...others.map(verdictOf))));
  }
  return made;
}

function verdictOf(verdict) {
  const fault = verdict.fault;
  return make("li", "",
    make("span", "name", verdict.rule), make("span", "muted", ` ${verdict.why}`),
    fault ? make("p", "notice bad", `Rejected: ${fault.what} ${fault.message}`) : null,
    verdict.note ? make("p", "small", verdict.note) : null,
    make("ul", "", ...verdict.names.slice(0, 200).map((name) => make("li", "",
      make("span", "kind", `${name.kind} `), code(name.name),
      make("span", "kind", ` by ${name.template}`),
      name.cache === "default" ? null : make("span", "kind", ` in ${name.cache}`)))));
}

async function explain(submitted) {
  submitted.preventDefault();
  const query = new URLSearchParams({ source: byId("origin").value });
  let shown;
  try {
    const answer = await fetch(`explain?${query}`, { method: "POST", body: byId("event").value });
    const told = await answer.json();
    shown = answer.ok ? showTold(told) : [make("p", "notice bad", told.error)];
  } catch (error) {
    shown = [make("p", "notice bad", `No answer: ${error.message}`)];
  }
  byId("told").replaceChildren(...shown);
}

/** Insert an event that the first rule would match, as far as its templates show. */
function example() {
  const literal = (text) => !/[*{]/.test(text);
  const rule = rules.rules.find((each) => each.enabled && each.on.some(literal));
  const data = {};
  for (const effect of rule ? rule.invalidates : []) {
    for (const [, path] of effect.template.matchAll(/\{([A-Za-z_][\w.]*)/g)) {
      const steps = path.replace(/^data\./, "").split(".");
      const last = steps.pop();
      let at = data;
      for (const step of steps) at = at[step] = Object(at[step]);
      if (!(last in at)) at[last] = "1";
    }
  }
  byId("event").value = JSON.stringify(wrapped(rule ? rule.on.find(literal) : "order.updated", data));
  byId("event").focus();
}

// --- what is applied ----------------------------------------------------------------------

const MOST_LINES = 100;
let stream = null;

function watch() {
  stream?.close();
  stream = null;
  if (!byId("tail-box").open) return;
  stream = new EventSource("tail");
  stream.onopen = () => { byId("tail-about").textContent = "Names as they are applied, of this replica."; };
  stream.onerror = () => {
    byId("tail-about").textContent = "No stream: the daemon is gone, or four others watch already.";
  };
  stream.onmessage = (message) => tell(JSON.parse(message.data));
}

function tell(told) {
  const list = byId("tail");
  const time = new Date(told.time * 1000).toLocaleTimeString("en-GB");
  const names = told.names.map((name) => [code(name), " "]).flat();
  list.prepend(make("li", "", make("span", "muted", `${time} ${told.source} `),
    make("span", "kind", `${told.kind} `), ...names,
    told.more ? make("span", "muted", `and ${count(told.more)} more`) : null));
  while (list.children.length > MOST_LINES) list.lastElementChild.remove();
}

/** The event as the rules' envelope reads it. */
function wrapped(type, data) {
  const envelope = rules.envelope;
  if (envelope.format === "cloudevents") return { specversion: "1.0", id: "1", source: "page", type, data };
  const slots = [...envelope.type.matchAll(/\{([^{}]*)\}/g)].map((found) => found[1]);
  const fields = slots.length ? parted(type, envelope.type, slots) : [[envelope.type, type]];
  let event = null;
  for (const [path, value] of fields) if (!path.startsWith("headers.")) event = placed(event, steps(path), value);
  return placed(event, steps(envelope.data === "auto" ? "data" : envelope.data), data);
}

/** The fields that make up a type, such as {entity}.{action}. */
function parted(type, template, slots) {
  const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const found = new RegExp(`^${template.split(/\{[^{}]*\}/).map(escaped).join("(.+?)")}$`).exec(type);
  return slots.map((path, at) => [path, found ? found[at + 1] : type]);
}

const steps = (path) => path.split(".").filter(Boolean);

function placed(into, [first, ...rest], value) {
  if (first === undefined) return Object.assign(into || {}, value);
  const made = into || {};
  made[first] = rest.length ? placed(made[first], rest, value) : value;
  return made;
}

// --- polling ------------------------------------------------------------------------------

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function refresh() {
  try {
    const status = await ask("status");
    if (rules.hash !== status.rules.hash) rules = await ask("rules");
    showStatus(status);
    showRules(status);
    await refreshPlots();
    answered = Date.now();
    document.body.classList.remove("gone");
  } catch (error) {
    const badge = byId("badge");
    badge.textContent = answered ? `no answer for ${span((Date.now() - answered) / 1000)}` : "no answer";
    badge.className = "badge bad";
    document.title = "no answer - invalidator";
    document.body.classList.add("gone"); // what is shown is old
  }
}

async function run() {
  if (!document.hidden) await refresh();
  setTimeout(run, EVERY);
}

byId("explain").addEventListener("submit", explain);
byId("example").addEventListener("click", example);
byId("event").addEventListener("keydown", (pressed) => {
  if (pressed.key === "Enter" && (pressed.ctrlKey || pressed.metaKey)) {
    byId("explain").requestSubmit();
  }
});
byId("tail-box").addEventListener("toggle", watch);
framePlots();
run();
