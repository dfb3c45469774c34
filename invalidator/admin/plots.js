// Draws /history: the last 15 minutes, or the last day. Uses what page.js defines.
"use strict";

const WIDTH = 560, HEIGHT = 132, TOP = 8, BOTTOM = 18;
const PLOTS = [
  { id: "flow", title: "Events per second", stacked: true, show: (v) => perSecond(v),
    series: [["applied", "applied"], ["unmatched", "unmatched"], ["rejected", "rejected"]] },
  { id: "age", title: "From event to gone", show: (v) => span(v), series: [["p50", "p50"], ["p99", "p99"]] },
  { id: "lag", title: "Behind", show: (v) => count(v), series: [["lag", "events"]] },
  { id: "deleted", title: "Keys deleted per second", show: (v) => perSecond(v), series: [["deleted", "keys"]] },
  { id: "letters", title: "Dead letters", show: (v) => count(v), series: [["dead", "new"]] },
];
const SVG = "http://www.w3.org/2000/svg";
let past = null, shownSpan = "recent";
const picked = new Map(); // the point that is looked at, by plot

function shape(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A round number at or above the highest value, so that the axis says something. */
function ceiling(highest) {
  if (!(highest > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(highest));
  return [1, 2, 5, 10].map((times) => times * unit).find((top) => top >= highest * 0.999);
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB",
  { hour: "2-digit", minute: "2-digit", second: shownSpan === "recent" ? "2-digit" : undefined });

function drawPlot(plot, data) {
  const times = data.at, last = times.length - 1;
  const seconds = shownSpan === "recent" ? 900 : 86400;
  const end = times[last], x = (at) => WIDTH * (1 - (end - at) / seconds);
  const columns = plot.series.map(([name]) => data[name]);
  const heights = layers(plot, columns);
  const highest = Math.max(0, ...heights.flat().filter((value) => value !== null));
  const top = ceiling(highest), y = (value) => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top;
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const share of [0, 0.5, 1]) {
    svg.append(shape("line", { class: "grid", x1: 0, x2: WIDTH, y1: y(top * share), y2: y(top * share) }));
  }
  heights.forEach((values, at) => {
    const name = plot.series[at][0], under = at ? heights[at - 1] : values.map(() => 0);
    if (plot.stacked) svg.append(area(name, times, under, values, x, y));
    for (const run of runs(values)) svg.append(line(name, times, values, run, x, y));
  });
  const index = Math.min(picked.get(plot.id) ?? last, last);
  if (picked.has(plot.id)) {
    svg.append(shape("line", { class: "at", x1: x(times[index]), x2: x(times[index]), y1: TOP, y2: HEIGHT - BOTTOM }));
  }
  const box = byId(`plot-${plot.id}`);
  box.querySelector(".drawing").replaceChildren(svg,
    make("span", "top muted", plot.show(top)),
    make("span", "from muted", shownSpan === "recent" ? "15 min ago" : "a day ago"),
    make("span", "to muted", "now"));
  box.querySelector(".drawing").dataset.range = JSON.stringify([end - seconds, end]);
  box.querySelector(".readout").replaceChildren(...readout(plot, columns, times, index));
}

/** The heights of each series; where they are stacked, on top of those before. */
function layers(plot, columns) {
  if (!plot.stacked) return columns;
  let under = columns[0].map(() => 0);
  return columns.map((values) => (under = values.map((value, at) => value + under[at])));
}

/** Stretches without a gap, as [first, last]: a plot does not pretend to know what it does not. */
function runs(values) {
  const found = [];
  values.forEach((value, at) => {
    if (value === null) return;
    const run = found[found.length - 1];
    if (run && run[1] === at - 1) run[1] = at; else found.push([at, at]);
  });
  return found;
}

function line(name, times, values, [first, last], x, y) {
  const points = [];
  for (let at = first; at <= last; at++) points.push(`${x(times[at]).toFixed(1)},${y(values[at]).toFixed(1)}`);
  if (first === last) points.push(`${(x(times[first]) + 2).toFixed(1)},${y(values[first]).toFixed(1)}`);
  return shape("polyline", { class: `series ${name}`, points: points.join(" ") });
}

function area(name, times, under, values, x, y) {
  const over = times.map((at, i) => `${x(at).toFixed(1)},${y(values[i]).toFixed(1)}`);
  const back = times.map((at, i) => `${x(at).toFixed(1)},${y(under[i]).toFixed(1)}`).reverse();
  return shape("polygon", { class: `area ${name}`, points: [...over, ...back].join(" ") });
}

function readout(plot, columns, times, index) {
  const values = plot.series.map(([name, label], at) => {
    const value = columns[at][index];
    const shown = value === null || value === undefined ? "none" : plot.show(value);
    return make("span", "", make("span", `key ${name}`), ` ${label} ${shown}`);
  });
  const when = picked.has(plot.id) ? clock(times[index]) : "now";
  return [make("span", "muted when", when), ...values];
}

function draw() {
  if (!past) return;
  const data = past[shownSpan];
  byId("plots").hidden = !data.at.length;
  if (data.at.length) for (const plot of PLOTS) drawPlot(plot, data);
}

function pick(plot, index) {
  const last = past[shownSpan].at.length - 1;
  if (index === null) picked.delete(plot.id);
  else picked.set(plot.id, Math.max(0, Math.min(last, index)));
  draw();
}

/** The index of the point that is nearest to where the pointer is. */
function nearest(drawing, clientX) {
  const box = drawing.getBoundingClientRect(), [begin, end] = JSON.parse(drawing.dataset.range);
  const at = begin + (end - begin) * (clientX - box.left) / box.width;
  const apart = past[shownSpan].at.map((time) => Math.abs(time - at));
  return apart.indexOf(Math.min(...apart));
}

/** Events per second in the last seconds; undefined where nothing is known. */
function flowNow() {
  const data = past && past.recent;
  if (!data || !data.at.length) return undefined;
  const last = data.at.length - 1;
  return data.applied[last] + data.rejected[last] + data.unmatched[last];
}

function framePlot(plot) {
  const drawing = make("div", "drawing");
  const readoutBox = make("p", "readout small");
  const box = make("figure", "card plot", make("figcaption", "", plot.title), drawing, readoutBox);
  box.id = `plot-${plot.id}`;
  drawing.tabIndex = 0;
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", `${plot.title}: the arrow keys move through time`);
  drawing.addEventListener("pointermove", (moved) => past && pick(plot, nearest(drawing, moved.clientX)));
  drawing.addEventListener("pointerleave", () => past && pick(plot, null));
  drawing.addEventListener("blur", () => past && pick(plot, null));
  drawing.addEventListener("keydown", (pressed) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[pressed.key];
    if (!step || !past) return;
    pressed.preventDefault();
    const last = past[shownSpan].at.length - 1;
    pick(plot, (picked.get(plot.id) ?? last) + step);
    readoutBox.setAttribute("aria-live", "polite");
  });
  return box;
}

async function refreshPlots() {
  past = await ask("history");
  draw();
}

function framePlots() {
  byId("plots-grid").replaceChildren(...PLOTS.map(framePlot));
  const buttons = [...document.querySelectorAll("#spans button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      shownSpan = button.value;
      picked.clear();
      for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
      draw();
    });
  }
}
