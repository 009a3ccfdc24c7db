/** The table of allocations: what each step was given, what it was predicted to need, what it used. */

import { h } from "./dom.js";
import * as format from "./format.js";
import { averageCores, bindingWords, moreThanPlanned, shortUri, taskPath } from "./model.js";
import { stateColour } from "./style.js";

const COLUMNS = [
  { key: "step", title: "Step", of: (row) => row.index },
  { key: "outcome", title: "Outcome, log", of: (row) => row.state },
  { key: "route", title: "Bin, queue and pool", of: (row) => `${row.step.bin} ${row.step.queue}` },
  { key: "requested", title: "Requested", of: (row) => row.step.allocation.final.cpu_mem_gb },
  { key: "predicted", title: "Predicted", number: true, of: (row) => row.step.latency_p50_ms },
  { key: "ran", title: "Ran", number: true, of: (row) => (row.last ? row.last.endMs - row.last.startMs : -1) },
  { key: "memory", title: "Peak memory", number: true, of: (row) => row.last?.usage.peak_mem_gb ?? -1 },
  { key: "cpu", title: "CPU used", number: true, of: (row) => row.last?.usage.cpu_seconds ?? -1 },
  { key: "suggested", title: "Suggested", of: (row) => row.suggestion?.cpu_mem_gb ?? -1 },
];

/** Longer tables scroll in a box of their own. */
const LONG_FROM = 20;

/** A coloured label of a state or outcome. */
export function statePill(state, running = false) {
  return h("span", { class: `pill${running ? " pulse" : ""}`, style: { "--state": stateColour(state) } }, format.stateWords(state));
}

/**
 * Draw the table.
 *
 * @param options `{dagId, runId, selected, select, filter, sort: {key, down}, setSort}`
 */
export function drawTable(view, binIndex, options) {
  const needle = options.filter.trim().toLowerCase();
  const rows = view.rows.filter((row) => !needle || searchText(row).includes(needle));
  const column = COLUMNS.find((candidate) => candidate.key === options.sort.key);
  const sign = options.sort.down ? -1 : 1;
  rows.sort((a, b) => sign * compare(column.of(a), column.of(b)) || a.index - b.index);
  const body = rows.flatMap((row) => {
    const chosen = options.selected === row.step.id;
    const line = stepRow(row, binIndex, chosen, options);
    return chosen ? [line, detailRow(row, view, options)] : [line];
  });
  if (!body.length) body.push(h("tr", null, h("td", { colspan: COLUMNS.length, class: "muted" }, "No step matches the filter.")));
  return h(
    "div",
    { class: `scroll table${rows.length > LONG_FROM ? " long" : ""}`, tabindex: 0, role: "region", "aria-label": "Allocations of the steps" },
    h("table", null, h("thead", null, h("tr", null, COLUMNS.map((c) => heading(c, options)))), h("tbody", null, body)),
  );
}

const compare = (a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b)));

function searchText(row) {
  const { step, state } = row;
  return [step.id, step.tool, step.bin, step.queue, step.pool, format.stateWords(state)].join(" ").toLowerCase();
}

function heading(column, { sort, setSort }) {
  const attributes = { scope: "col", class: column.number ? "number" : null };
  const active = sort.key === column.key;
  attributes["aria-sort"] = active ? (sort.down ? "descending" : "ascending") : null;
  const arrow = active ? (sort.down ? " \u2193" : " \u2191") : "";
  return h(
    "th",
    attributes,
    h("button", { type: "button", "data-key": `sort ${column.key}`, on: { click: () => setSort(column.key) } }, column.title, arrow),
  );
}

function stepRow(row, binIndex, chosen, options) {
  const { step, last, suggestion } = row;
  const name = h(
    "button",
    { type: "button", "aria-expanded": String(chosen), "data-key": `table ${step.id}`, on: { click: (event) => { event.stopPropagation(); options.select(step.id); } } },
    step.tool,
  );
  const cells = [
    h("td", { class: "name" }, name, h("span", { class: "sub" }, step.id, row.critical ? [" \u00b7 ", h("span", { class: "crit-mark" }, "critical")] : null)),
    h("td", null, statePill(row.state, row.state === "running"), h("span", { class: "sub" }, logLink(row, options), row.tries.length > 1 ? ` \u00b7 try ${last.number}` : null)),
    h("td", { title: routeWords(step) }, binChip(step.bin, binIndex), h("span", { class: "sub" }, shortRoute(step))),
    h("td", null, format.cores(step.allocation.final.cpu_cores), h("span", { class: "sub" }, memoryWords(step.allocation.final))),
    h("td", { class: "number" }, format.duration(step.latency_p50_ms), h("span", { class: "sub" }, `p90 ${format.duration(step.latency_p90_ms)}`)),
    h("td", { class: "number" }, last ? format.duration(last.endMs - last.startMs) : "\u2013", ranSub(row)),
    h("td", { class: "number" }, memoryCell(last)),
    h("td", { class: "number" }, cpuCell(last)),
    h("td", null, suggestionCell(suggestion, last)),
  ];
  return h("tr", { class: `step${chosen ? " selected" : ""}`, "data-step": step.id, on: { click: () => options.select(step.id) } }, cells);
}

function routeWords(step) {
  return `bin ${step.bin}, queue ${step.queue}, pool ${step.pool}, ${format.count(step.pool_slots, "slot")}`;
}

function shortRoute(step) {
  const names = step.queue === step.pool ? step.pool : `${step.queue}, ${step.pool}`;
  return `${names} \u00b7 ${format.count(step.pool_slots, "slot")}`;
}

function memoryWords(amount) {
  return format.resources({ ...amount, cpu_cores: 0 }).replace(/^[^\u00b7]*\u00b7 /, "");
}

function ranSub(row) {
  if (row.runDifferenceMs === null) return null;
  const late = row.last.endMs - row.last.startMs > row.step.latency_p90_ms;
  const words = late ? "above the predicted p90" : "against the predicted p50";
  return h("span", { class: `sub${late ? " over" : ""}`, title: words }, format.difference(row.runDifferenceMs));
}

/** A bin's name with its colour. */
export function binChip(name, binIndex) {
  return h("span", { class: "nowrap" }, h("span", { style: { display: "inline-block", width: "9px", height: "9px", "border-radius": "2px", "margin-right": "7px", background: binIndex.colour(name) } }), name);
}

function meter(share, colour) {
  const width = `${Math.min(100, Math.max(0, share * 100))}%`;
  return h("div", { class: "meter", "aria-hidden": "true" }, h("span", { style: { width, "--fill": colour } }));
}

function loadColour(share) {
  return share > 1 ? "var(--bad)" : share > 0.9 ? "var(--warn)" : "var(--accent)";
}

function memoryCell(last) {
  if (!last || !(last.usage.peak_mem_gb > 0)) return "\u2013";
  const share = last.usage.peak_mem_gb / last.record.requested.cpu_mem_gb;
  return [format.gigabytes(last.usage.peak_mem_gb), h("span", { class: "hidden-label" }, `, ${format.percent(share)} of requested`), meter(share, loadColour(share))];
}

function cpuCell(last) {
  const busy = last ? averageCores(last.usage) : null;
  if (busy === null) return "\u2013";
  const share = busy / Math.max(1e-9, last.record.requested.cpu_cores);
  return [
    h("span", { title: `${format.trimmed(busy)} cores on average` }, `${format.trimmed(last.usage.cpu_seconds)} core-s`),
    h("span", { class: "hidden-label" }, `, ${format.percent(share)} of requested`),
    meter(share, "var(--accent)"),
  ];
}

function suggestionCell(suggestion, last) {
  if (!suggestion) return "\u2013";
  const words = `${suggestion.atLeast ? "at least " : ""}${format.gigabytes(suggestion.cpu_mem_gb)}`;
  const verdict = { fits: "fits", smaller: "spare", tight: "tight", larger: "needs more" }[suggestion.verdict];
  const tone = suggestion.verdict === "larger" ? " over" : "";
  const why = last ? `from this run's peak of ${format.gigabytes(last.usage.peak_mem_gb)}` : "";
  return [h("span", { title: why }, words), h("span", { class: `sub${tone}` }, `${format.cores(suggestion.cpu_cores)} \u00b7 ${verdict}`)];
}

/** Link to the log of the task instance that ran a row's step. */
export function logLink(row, { dagId, runId }, text = "Log") {
  if (!row.task) return null;
  return h(
    "a",
    { href: taskPath(dagId, runId, row.task), "data-route": true, "aria-label": `Log of ${row.step.id}`, on: { click: (event) => event.stopPropagation() } },
    text,
  );
}

function detailRow(row, view, options) {
  return h("tr", { class: "detail" }, h("td", { colspan: COLUMNS.length }, stepDetail(row, view, options)));
}

/** All that is known of one step beyond its row: size, data, times, tries. */
export function stepDetail(row, view) {
  const { step, last } = row;
  return h("div", { class: "columns" }, [
    factsBlock("Why this size", [
      [null, step.allocation.why || "No reason was recorded."],
      ["Requested", format.resources(step.allocation.final)],
      ["Floor from history", format.resources(step.allocation.floor)],
      ["Proposed by the model", step.allocation.proposed ? format.resources(step.allocation.proposed) : "none"],
      ["Choice of the tool", `${format.percent(step.confidence)} sure`],
    ]),
    factsBlock("Inputs and arguments", [
      ...Object.entries(step.inputs).map(([port, bindings]) => [port, bindings.map(bindingWords).join(", ")]),
      ["Predicted size", format.bytes(step.predicted_input_bytes)],
      ["Actual size", last ? format.bytes(last.record.input_bytes) : "\u2013"],
      ...Object.entries(step.arguments).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]),
    ]),
    factsBlock("Times", [
      ["Planned", `${format.duration(step.start_ms)} to ${format.duration(step.end_ms)}`],
      ["Actual", last ? `${format.duration(last.startMs)} to ${last.running ? "now" : format.duration(last.endMs)}` : "\u2013"],
      ["Waited", last ? format.duration(last.startMs - last.readyMs) : "\u2013"],
      ["End against plan", format.difference(row.endDifferenceMs)],
      ["Slack", row.critical ? "none: on the critical path" : format.duration(row.slackMs)],
      ["After", step.depends_on.length ? step.depends_on.join(", ") : "the release"],
    ]),
    triesBlock(row),
    outputsBlock(last),
  ]);
}

function factsBlock(title, pairs) {
  return h(
    "section",
    null,
    h("h3", null, title),
    pairs.filter(([name]) => name === null).map(([, text]) => h("p", { class: "prose small" }, text)),
    h("dl", { class: "facts-list small" }, pairs.filter(([name]) => name !== null).map(([name, text]) => [h("dt", null, name), h("dd", null, text)])),
  );
}

function triesBlock(row) {
  if (!row.tries.length) return null;
  return h(
    "section",
    null,
    h("h3", null, row.tries.length > 1 ? "Tries" : "Measured"),
    row.tries.map(({ record, usage, number, outcome, running }) =>
      h(
        "dl",
        { class: "facts-list small" },
        [
          [`Try ${number}`, `${format.stateWords(running ? "running" : outcome)} on ${record.host}`],
          ["Peak memory", `${format.gigabytes(usage.peak_mem_gb)} of ${format.gigabytes(record.requested.cpu_mem_gb)}, limit by ${usage.memory_limit}`],
          moreThanPlanned(row.step, record) && ["Given", moreThanPlanned(row.step, record)],
          ["CPU", `${format.trimmed(usage.cpu_seconds)} core-s, peak ${format.cores(usage.peak_cpu_cores)}`],
          usage.gpu_peak_mem_gb > 0 && ["GPU memory", format.gigabytes(usage.gpu_peak_mem_gb)],
          record.error && ["Error", record.error],
          usage.evidence && ["Shown by", usage.evidence],
        ]
          .filter(Boolean)
          .map(([name, text]) => [h("dt", null, name), h("dd", null, text)]),
      ),
    ),
  );
}

function artifactWords(artifact) {
  return [h("span", { class: "mono", title: artifact.uri }, shortUri(artifact.uri)), h("span", { class: "muted" }, ` ${artifact.type}`)];
}

function outputsBlock(last) {
  if (!last?.record.outputs.length) return null;
  return factsBlock(
    "Outputs",
    last.record.outputs.slice(0, 20).map((artifact) => [artifact.name, artifactWords(artifact)]).concat(
      last.record.outputs.length > 20 ? [["", `and ${last.record.outputs.length - 20} more`]] : [],
    ),
  );
}
