/** Planned and actual bars, grouped by bin, and the forecast strips that share their time axis. */

import { activation, h, svg } from "./dom.js";
import * as format from "./format.js";
import { plannedLoad, stairs } from "./layout.js";
import { stateColour } from "./style.js";

const COMPACT_FROM = 41;
const AXIS_HEIGHT = 26;
const LANE_HEIGHT = 26;
const STRIP_HEIGHT = 46;
const RIGHT = 86;

const RESOURCES = [
  { name: "cpu_cores", index: 1, title: "cores", words: format.cores },
  { name: "cpu_mem_gb", index: 2, title: "memory", words: format.gigabytes },
  { name: "gpu_sm", index: 3, title: "GPU", words: (value) => `${format.trimmed(value)} %` },
  { name: "gpu_mem_gb", index: 4, title: "GPU memory", words: format.gigabytes },
];

/** Geometry that the chart and the strips share: `width` px in all, `left` px for labels, a time scale. */
export function timeFrame(view, width) {
  const left = width < 620 ? 104 : 216;
  const right = width < 620 ? 24 : RIGHT;
  const begin = view.beginMs;
  const span = begin + (view.spanMs - begin) * 1.02;
  return { width, left, right, begin, span, x: format.scale(begin, span, left, width - right) };
}

/** The timeline: a sticky axis above, and one lane per bin with one row per step. */
export function drawGantt(view, frame, binIndex, selected, select) {
  const rowHeight = view.rows.length >= COMPACT_FROM ? 24 : 34;
  const marks = format.ticks(frame.begin, frame.span, Math.max(2, Math.floor((frame.width - frame.left) / 110)));
  const lanes = [];
  const rules = [];
  let y = 2;
  for (const bin of view.bins) {
    const rows = view.rows
      .filter((row) => row.step.bin === bin.name)
      .sort((a, b) => a.step.start_ms - b.step.start_ms || a.index - b.index);
    lanes.push(lane(bin, y, frame, binIndex));
    y += LANE_HEIGHT;
    for (const row of rows) {
      lanes.push(bars(row, y, rowHeight, frame, binIndex, selected === row.step.id, select));
      y += rowHeight;
    }
    y += 8;
  }
  for (const at of marks) rules.push(svg("line", { class: "grid", x1: frame.x(at), x2: frame.x(at), y1: 0, y2: y }));
  const axis = svg(
    "svg",
    { class: "axis", width: frame.width, height: AXIS_HEIGHT, "aria-hidden": "true" },
    svg("text", { class: "muted tiny", x: 10, y: 16 }, frame.left > 150 ? "from the planned release" : "time"),
    marks.map((at) => svg("text", { class: "muted tiny", x: frame.x(at), y: 16, "text-anchor": at === frame.begin ? "start" : "middle" }, format.tickLabel(at))),
  );
  const chart = svg(
    "svg",
    { width: frame.width, height: y, role: "group", "aria-label": "Planned and actual times of the steps, by bin" },
    hatch(),
    svg("g", { "aria-hidden": "true" }, rules),
    verticals(view, frame, y),
    lanes,
  );
  return h("div", { class: "scroll gantt" }, axis, chart);
}

function hatch() {
  return svg(
    "defs",
    null,
    svg(
      "pattern",
      { id: "wait", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("line", { x1: 0, y1: 0, x2: 0, y2: 5, stroke: "var(--idle)", "stroke-width": 1.8 }),
    ),
  );
}

function lane(bin, y, frame, binIndex) {
  const size = bin.capacity ? format.resources(bin.capacity) : "";
  const route = `queue ${bin.queue} \u00b7 pool ${bin.pool}`;
  const words = [size, bin.workerClass && `class ${bin.workerClass}`, route].filter(Boolean).join(" \u00b7 ");
  const nameWidth = format.textWidth(bin.name, 12.5) + 40;
  return svg(
    "g",
    { class: "lane-head" },
    svg("rect", { class: "lane", x: 0, y, width: frame.width, height: LANE_HEIGHT - 4, rx: 4 }),
    svg("rect", { x: 10, y: y + 6, width: 10, height: 10, rx: 2.5, fill: binIndex.colour(bin.name) }),
    svg("text", { x: 27, y: y + 15.5, "font-weight": 600 }, bin.name),
    svg("text", { class: "muted tiny", x: nameWidth, y: y + 15.5 }, format.truncate(words, frame.width - nameWidth - 8, 11)),
  );
}

function bars(row, y, height, frame, binIndex, selected, select) {
  const { step } = row;
  const thick = height > 30 ? 10 : 7;
  const upper = y + (height > 30 ? 5 : 4);
  const lower = upper + thick + 3;
  const plannedWidth = Math.max(2, frame.x(step.end_ms) - frame.x(step.start_ms));
  const medianWidth = Math.min(plannedWidth, frame.x(step.start_ms + step.latency_p50_ms) - frame.x(step.start_ms));
  const words = rowWords(row);
  const nodes = [
    svg("title", null, words),
    svg("rect", { class: "hit", x: 1, y: y + 1, width: frame.width - 2, height: height - 2, rx: 4 }),
    row.critical ? svg("rect", { class: "on-path", x: 2, y: y + 5, width: 3, height: height - 10, rx: 1.5 }) : null,
    ...rowLabel(row, y, height, frame),
    svg("rect", { class: "planned", x: frame.x(step.start_ms), y: upper, width: plannedWidth, height: thick, rx: 2 }),
    svg("rect", { class: "median", x: frame.x(step.start_ms), y: upper, width: medianWidth, height: thick, rx: 2 }),
    whisker(row, frame, upper + thick / 2),
    row.tries.map((attempt, i) => actual(attempt, row, frame, lower, thick, i < row.tries.length - 1)),
    pending(row, frame, lower, thick),
    differenceLabel(row, frame, lower, thick),
  ];
  return svg(
    "g",
    {
      class: `row${selected ? " selected" : ""}`,
      style: { "--bin": binIndex.colour(step.bin) },
      tabindex: 0,
      role: "button",
      "aria-label": words,
      "aria-pressed": String(selected),
      "data-step": step.id,
      "data-key": `gantt ${step.id}`,
      on: activation(() => select(step.id)),
    },
    nodes,
  );
}

function rowLabel(row, y, height, frame) {
  const { step } = row;
  const room = frame.left - 22;
  const name = step.id.includes(step.tool) ? step.id : step.tool;
  const kept = format.truncate(name, room, 12);
  const left = room - format.textWidth(kept, 12) - 8;
  const id = name === step.id || left < 16 ? null : svg("tspan", { class: "muted tiny", dx: 7 }, format.truncate(step.id, left, 11));
  return [svg("text", { x: 10, y: y + height / 2 + 4 }, kept, id)];
}

function whisker(row, frame, middle) {
  const from = frame.x(row.step.end_ms);
  const to = frame.x(row.plannedP90Ms);
  if (to - from < 2) return null;
  return svg(
    "g",
    { class: "whisker" },
    svg("line", { x1: from, x2: to, y1: middle, y2: middle }),
    svg("line", { x1: to, x2: to, y1: middle - 3, y2: middle + 3 }),
  );
}

function actual(attempt, row, frame, y, thick, earlier) {
  const colour = attempt.running ? stateColour("running") : stateColour(attempt.outcome);
  const ready = frame.x(attempt.readyMs);
  const start = frame.x(attempt.startMs);
  const end = frame.x(attempt.endMs);
  const from = Math.max(ready, frame.left - 4);
  return [
    start - from > 1
      ? svg("rect", { class: "waited", x: from, y: y + 0.5, width: start - from, height: thick - 1, rx: 1.5, fill: "url(#wait)" })
      : null,
    svg("rect", {
      class: `ran${earlier ? " earlier" : ""}`,
      style: { "--state": colour },
      x: start,
      y,
      width: Math.max(2.5, end - start),
      height: thick,
      rx: 2,
      "data-try": attempt.number,
    }),
  ];
}

function pending(row, frame, y, thick) {
  if (row.waitingSinceMs === null) return null;
  const from = Math.max(frame.x(row.waitingSinceMs), frame.left);
  const to = frame.x(Math.max(row.waitingSinceMs, Math.min(frame.span, row.nowMs ?? row.waitingSinceMs)));
  return to - from > 1 ? svg("rect", { class: "waited", x: from, y, width: to - from, height: thick, rx: 1.5, fill: "url(#wait)" }) : null;
}

function differenceLabel(row, frame, y, thick) {
  if (!row.last || row.last.running || frame.right < 60) return null;
  const x = frame.x(row.last.endMs) + 6;
  const words = row.runDifferenceMs === null ? format.stateWords(row.last.outcome) : format.difference(row.runDifferenceMs);
  return svg("text", { class: "muted tiny difference", x, y: y + thick - 0.5 }, words);
}

function rowWords(row) {
  const { step, last } = row;
  const planned = `planned ${format.duration(step.start_ms)} to ${format.duration(step.end_ms)}, p90 ${format.duration(row.plannedP90Ms)}`;
  const parts = [`${step.tool} (${step.id}) on ${step.bin}: ${format.stateWords(row.state)}`, planned];
  if (last) {
    parts.push(`actual ${format.duration(last.startMs)} to ${last.running ? "now" : format.duration(last.endMs)}`);
    parts.push(`waited ${format.duration(last.startMs - last.readyMs)}, ran ${format.duration(last.endMs - last.startMs)}`);
  }
  if (row.runDifferenceMs !== null) parts.push(`${format.difference(row.runDifferenceMs)} against the predicted p50`);
  if (row.tries.length > 1) parts.push(format.count(row.tries.length, "try", "tries"));
  parts.push(row.critical ? "on the critical path" : `slack ${format.duration(row.slackMs)}`);
  return parts.join("; ");
}

function verticals(view, frame, bottom) {
  const lines = [];
  if (view.dispatchedMs !== null && Math.abs(view.dispatchedMs) > 1) {
    const x = frame.x(view.dispatchedMs);
    lines.push(svg("line", { class: "released", x1: x, x2: x, y1: 0, y2: bottom }, svg("title", null, "actual release")));
  }
  if (view.nowMs !== null && view.nowMs >= frame.begin && view.nowMs <= frame.span) {
    const x = frame.x(view.nowMs);
    lines.push(svg("line", { class: "now", x1: x, x2: x, y1: 0, y2: bottom }, svg("title", null, "now")));
  }
  return svg("g", { "aria-hidden": "true", "pointer-events": "none" }, lines);
}

/** One strip per bin and resource in use: free capacity of the forecast, planned load within it. */
export function drawStrips(view, frame, binIndex) {
  const strips = view.bins.flatMap((bin) =>
    RESOURCES.filter((resource) => matters(view, bin, resource)).map((resource) => strip(view, bin, resource, frame, binIndex)),
  );
  return h("div", { class: "strips" }, strips);
}

function matters(view, bin, resource) {
  if (resource.index <= 2) return true;
  return view.plan.steps.some((step) => step.bin === bin.name && step.allocation.final[resource.name] > 0);
}

function strip(view, bin, resource, frame, binIndex) {
  const load = plannedLoad(view.plan.steps, bin.name, resource.name);
  const peak = Math.max(0, ...load.map(([, amount]) => amount));
  const curve = bin.curve?.points.map((point, i) => [i === 0 ? Math.min(frame.begin, point[0]) : point[0], point[resource.index]]) ?? [];
  const capacity = bin.capacity?.[resource.name] ?? null;
  const top = Math.max(peak, capacity ?? 0, ...curve.map(([, amount]) => amount), 1e-9) * 1.08;
  const height = (amount) => STRIP_HEIGHT - 2 - (amount / top) * (STRIP_HEIGHT - 8);
  const filled = (name, points) => {
    if (!points.length) return null;
    const line = stairs(points, frame.begin, frame.span).map(([at, amount]) => `${frame.x(at)},${height(amount)}`).join(" L");
    return [
      svg("path", { class: name, d: `M${frame.left},${height(0)} L${line} L${frame.x(frame.span)},${height(0)} Z` }),
      svg("path", { class: `${name}-line`, d: `M${line}` }),
    ];
  };
  const planned = format.textWidth(bin.name, 12) + 18;
  const limit = capacity === null ? "" : ` of ${resource.words(capacity)}`;
  const words = `${bin.name}, ${resource.title}: planned peak ${resource.words(peak)}${limit}`;
  return svg(
    "svg",
    { width: frame.width, height: STRIP_HEIGHT, role: "img", "aria-label": words, style: { "--bin": binIndex.colour(bin.name) } },
    svg("title", null, words),
    svg("text", { x: 10, y: 18, "font-weight": 500 }, format.truncate(bin.name, frame.left - 14, 12)),
    frame.left > 150 ? svg("text", { class: "muted tiny", x: planned, y: 18 }, resource.title) : null,
    svg("text", { class: "muted tiny", x: 10, y: 34 }, frame.left > 150 ? `peak ${resource.words(peak)}${limit}` : resource.title),
    svg("line", { class: "floor", x1: frame.left, x2: frame.x(frame.span), y1: height(0), y2: height(0) }),
    filled("free", curve),
    filled("load", load),
    capacity === null ? null : svg("line", { class: "capacity", x1: frame.left, x2: frame.x(frame.span), y1: height(capacity), y2: height(capacity) }),
  );
}
