/** The upper part of the Plan tab: task, status, figures, notices. */

import { h } from "./dom.js";
import { notice } from "./element.js";
import * as format from "./format.js";
import { commonFolder, shortUri } from "./model.js";
import { statePill } from "./table.js";

/** Task text, status and the plan's identity; `task` is `{whole, toggle}`: whether a long text stands in full. */
export function drawHead(view, live, task) {
  const { plan } = view;
  const facts = [
    `plan ${plan.id.slice(0, 8)}`,
    `made ${format.clock(plan.created_at)}`,
    `seed ${plan.request.seed}`,
    plan.request.deadline_s ? `deadline ${format.duration(plan.request.deadline_s * 1000)}` : null,
    plan.request.allowed_tools ? `${format.count(plan.request.allowed_tools.length, "tool")} allowed` : null,
  ];
  return h(
    "div",
    { class: "head" },
    h(
      "div",
      { class: "title" },
      taskText(plan, task),
      h("div", { class: "facts" }, facts.filter(Boolean).map((fact) => h("span", null, fact))),
    ),
    h("div", { class: "live", "aria-live": "polite" }, live, statePill(view.status, view.status === "running")),
  );
}

const LONG_TASK = 320;

/** The task as it was written; a long one is cut to three lines until it is asked for. */
function taskText(plan, { whole, toggle }) {
  const text = plan.request.task;
  const long = text.length > LONG_TASK;
  const title = h("h2", { class: `task${long && !whole ? " clamped" : ""}`, lang: plan.language }, text);
  if (!long) return title;
  const attributes = { type: "button", "aria-expanded": String(whole), "data-key": "task", style: { "justify-self": "start" }, on: { click: toggle } };
  return [title, h("button", attributes, whole ? "Show less" : "Show the whole task")];
}

function tile(name, value, ...sub) {
  return h("div", { class: "tile" }, h("dt", null, name), h("dd", { title: typeof value === "string" ? value : null }, value), sub.filter(Boolean).map((line) => h("dd", { class: "sub" }, line)));
}

function against(actual, predicted) {
  if (actual === null || actual === undefined) return null;
  const off = actual - predicted;
  return [" ", h("span", { class: `nowrap${off > predicted * 0.1 ? " over" : ""}` }, `(${format.difference(off)})`)];
}

/** How far the planned makespan can be from the shortest one; null where the plan does not say. */
function distance(scheduling) {
  if (!scheduling) return null;
  return scheduling.gap_pct > 0 ? `at most ${scheduling.gap_pct.toFixed(1)} % could be saved` : "proven shortest";
}

/** The figures of the plan, planned against actual. */
export function drawTiles(view) {
  const { plan } = view;
  const actual = view.actualMakespanMs;
  const planner = plan.planner;
  return h(
    "dl",
    { class: "tiles" },
    tile(
      "Makespan",
      actual !== null ? format.duration(actual) : view.elapsedMs !== null ? `${format.duration(view.elapsedMs)} \u2026` : format.duration(plan.makespan_ms),
      [`planned ${format.duration(plan.makespan_ms)}`, against(actual, plan.makespan_ms)],
      distance(plan.scheduling),
    ),
    tile("Steps", `${view.done} of ${view.rows.length}`, stepWords(view), progress(view)),
    tile("Planner", planner.kind, `version ${planner.version}`, planner.model_version ? `model ${planner.model_version}` : "model: none registered"),
    tile("Planning time T_inf", format.duration(plan.t_inf_actual_ms ?? plan.t_inf_predicted_ms), [
      `predicted ${format.duration(plan.t_inf_predicted_ms)}`,
      against(plan.t_inf_actual_ms, plan.t_inf_predicted_ms),
    ]),
    tile("Dispatch lag", format.duration(plan.dispatch_lag_actual_ms ?? plan.dispatch_lag_predicted_ms), [
      `predicted ${format.duration(plan.dispatch_lag_predicted_ms)}`,
      against(plan.dispatch_lag_actual_ms, plan.dispatch_lag_predicted_ms),
    ]),
    tile("Critical path", format.count(view.chain.steps.size, "step"), `over ${format.count(view.bins.length, "bin")}`),
  );
}

function stepWords(view) {
  const waiting = view.rows.length - view.done - view.failed - view.running;
  const parts = [
    view.running ? `${view.running} running` : null,
    view.failed ? `${view.failed} failed` : null,
    waiting ? `${waiting} ${view.over ? "not run" : "to come"}` : null,
  ].filter(Boolean);
  return parts.join(", ") || "all done";
}

function progress(view) {
  const part = (number, colour) => h("span", { style: { width: `${(100 * number) / Math.max(1, view.rows.length)}%`, background: colour } });
  return h("div", { class: "progress", "aria-hidden": "true" }, part(view.done, "var(--ok)"), part(view.failed, "var(--bad)"), part(view.running, "var(--busy)"));
}

/** Fallback, warnings, a superseding plan. */
export function drawNotices(view, planTasks) {
  const { plan } = view;
  const boxes = [];
  const { fallback_from: from, fallback_reason: reason } = plan.planner;
  if (from) {
    boxes.push(notice("warn", `Planned by the ${plan.planner.kind} planner in place of ${from}`, reason || "No reason was recorded."));
  }
  if (plan.status === "superseded") boxes.push(notice("info", "This plan was superseded by a newer one."));
  if (planTasks.some((task) => task.task_id === view.taskId && ["running", "queued", "scheduled"].includes(task.state))) {
    boxes.push(notice("info", "The plan task is running again", "A new plan may replace this one."));
  }
  if (plan.warnings.length) {
    boxes.push(notice("warn", format.count(plan.warnings.length, "warning"), h("ul", null, plan.warnings.map((text) => h("li", null, text)))));
  }
  return boxes;
}

/** The planner's explanation and the declared results. */
export function drawResults(view) {
  const { plan } = view;
  const outputs = Object.entries(plan.outputs);
  const produced = new Map(view.rows.map((row) => [row.step.id, row]));
  return h(
    "div",
    { class: "columns body" },
    h("section", { class: "wide" }, h("h3", null, "Why this plan"), h("p", { class: "prose", lang: plan.language }, plan.explanation || "The planner gave no explanation."),
      plan.narrative ? [h("h3", null, "In the model's own words"), h("p", { class: "prose", lang: plan.language }, plan.narrative), h("p", { class: "muted" }, `Written by ${plan.planner.kind} ${plan.planner.version} after its plan; nothing was derived from it.`)] : null),
    h(
      "section",
      null,
      h("h3", null, "Declared outputs"),
      outputs.length
        ? h("dl", { class: "facts-list" }, outputs.map(([name, binding]) => [h("dt", null, name), h("dd", null, outputWords(name, binding, plan, produced))]))
        : h("p", { class: "muted" }, "None were declared."),
    ),
    h(
      "section",
      null,
      h("h3", null, "Request inputs"),
      Object.keys(plan.request.inputs).length
        ? h("dl", { class: "facts-list" }, Object.entries(plan.request.inputs).map(([name, input]) => [h("dt", null, name), h("dd", null, inputWords(input))]))
        : h("p", { class: "muted" }, "None."),
    ),
  );
}

function outputWords(name, binding, plan, produced) {
  const row = produced.get(binding.step);
  const files = row?.last?.record.outputs.filter((artifact) => artifact.name === binding.output) ?? [];
  const type = plan.request.outputs[name] ?? files[0]?.type;
  const made = files.length ? format.count(files.length, "file") : row?.state === "failed" ? "not produced" : "not yet there";
  return [`${binding.step} \u2192 ${binding.output}`, h("span", { class: "muted" }, ` ${[type, made].filter(Boolean).join(", ")}`)];
}

function inputWords(input) {
  const size = input.bytes === null || input.bytes === undefined ? "" : `, ${format.bytes(input.bytes)}`;
  const kind = h("span", { class: "muted" }, ` ${input.type}${size}`);
  if (input.uris.length === 1) return [h("span", { class: "mono", title: input.uris[0] }, shortUri(input.uris[0])), kind];
  const names = input.uris.slice(0, 50).join("\n") + (input.uris.length > 50 ? "\n\u2026" : "");
  return [h("span", { title: names }, `${format.count(input.uris.length, "file")} in `, h("span", { class: "mono" }, commonFolder(input.uris))), kind];
}
