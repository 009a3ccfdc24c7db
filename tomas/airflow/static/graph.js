/** The dependency graph as SVG. */

import { activation, svg } from "./dom.js";
import * as format from "./format.js";
import { edgePath, layers, layout } from "./layout.js";
import { stateColour } from "./style.js";

const ROOMY = { width: 196, height: 52, gapX: 46, gapY: 16, margin: 10 };
const COMPACT = { width: 156, height: 26, gapX: 40, gapY: 8, margin: 8 };
const COMPACT_FROM = 41;

/** Draw the graph of a plan view in `room` px; `select(stepId)` is called on click, Enter and Space. */
export function drawGraph(view, room, binIndex, selected, select) {
  const compact = view.rows.length >= COMPACT_FROM;
  const size = fitted(compact ? COMPACT : ROOMY, view.plan.steps, room);
  const { nodes, edges, width, height } = layout(view.plan.steps, size);
  const links = new Map(view.chain.links.map((link) => [`${link.from} ${link.to}`, link.kind]));
  const drawn = edges.map(({ from, to, points }) =>
    svg("path", {
      class: `edge${links.get(`${from} ${to}`) === "dependency" ? " critical" : ""}${touches(selected, from, to)}`,
      d: edgePath(points),
      "data-from": from,
      "data-to": to,
    }),
  );
  const waits = view.chain.links.filter((link) => link.kind === "bin").map((link) => waitPath(link, nodes, size));
  const boxes = view.rows.map((row) => node(row, nodes.get(row.step.id), size, compact, binIndex, selected, select));
  return svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Dependency graph of ${format.count(view.rows.length, "step")}` },
    svg("g", { "aria-hidden": "true" }, drawn, waits),
    boxes,
  );
}

/** Nodes as wide as the room allows, between three quarters and 110 % of their usual width. */
function fitted(size, steps, room) {
  const columns = 1 + Math.max(0, ...layers(steps).values());
  const width = (room - 2 * size.margin - (columns - 1) * size.gapX) / columns;
  return { ...size, width: Math.round(Math.min(size.width * 1.1, Math.max(size.width * 0.76, width))) };
}

const touches = (selected, from, to) => (selected !== null && (selected === from || selected === to) ? " near" : "");

function waitPath({ from, to }, nodes, size) {
  const a = nodes.get(from);
  const b = nodes.get(to);
  const path = svg("path", { class: "edge bin", d: a.layer === b.layer ? sideways(a, b, size) : across(a, b, size) });
  path.append(svg("title", null, `${to} waits for room that ${from} leaves`));
  return path;
}

/** Within a column: straight to a neighbour, else around the nodes between, on their left. */
function sideways(a, b, size) {
  const [upper, lower] = a.y < b.y ? [a, b] : [b, a];
  const room = lower.y - upper.y - size.height;
  if (room <= 1.5 * size.gapY) {
    const x = upper.x + size.width / 2;
    return `M${x},${upper.y + size.height} L${x},${lower.y}`;
  }
  const out = a.x - size.gapX * 0.45;
  const [y0, y1] = [upper.y + size.height / 2, lower.y + size.height / 2];
  return `M${a.x},${y0} C${out},${y0} ${out},${y0} ${out},${y0 + 12} L${out},${y1 - 12} C${out},${y1} ${out},${y1} ${a.x},${y1}`;
}

function across(a, b, size) {
  const [left, right] = a.layer < b.layer ? [a, b] : [b, a];
  return edgePath([[left.x + size.width, left.y + size.height * 0.72], [right.x, right.y + size.height * 0.72]]);
}

function node(row, { x, y }, size, compact, binIndex, selected, select) {
  const { step } = row;
  const colour = binIndex.colour(step.bin);
  const state = format.stateWords(row.state);
  const classes = ["node", row.critical && "critical", selected === step.id && "selected"].filter(Boolean).join(" ");
  const name = format.truncate(step.tool, size.width - (compact ? 36 : 40), compact ? 14 : 13);
  const label =
    `${step.id}: ${step.tool} on ${step.bin}, ${state}, ${format.resources(step.allocation.final)}, ` +
    `predicted ${format.duration(step.latency_p50_ms)}${row.critical ? ", on the critical path" : ""}`;
  return svg(
    "g",
    {
      class: classes,
      transform: `translate(${x},${y})`,
      tabindex: 0,
      role: "button",
      "aria-label": label,
      "aria-pressed": String(selected === step.id),
      "data-step": step.id,
      "data-key": `graph ${step.id}`,
      on: activation(() => select(step.id)),
    },
    svg("title", null, label),
    svg("rect", { class: "box", width: size.width, height: size.height, rx: 6 }),
    svg("rect", { x: 0.5, y: 5, width: 3.5, height: size.height - 10, rx: 1.5, fill: colour }),
    svg("circle", { cx: size.width - 14, cy: compact ? size.height / 2 : 18, r: compact ? 4 : 4.5, fill: stateColour(row.state) }),
    svg("text", { class: "name", x: 13, y: compact ? 17 : 22 }, name),
    compact
      ? null
      : svg(
          "text",
          { class: "muted tiny", x: 13, y: 40 },
          format.truncate(`${step.bin} \u00b7 ${sizeWords(step.allocation.final)}`, size.width - 20, 11),
        ),
  );
}

function sizeWords(amount) {
  const gpu = amount.gpu_sm > 0 || amount.gpu_mem_gb > 0 ? " \u00b7 GPU" : "";
  return `${format.cores(amount.cpu_cores)} \u00b7 ${format.trimmed(amount.cpu_mem_gb)} GB${gpu}`;
}
