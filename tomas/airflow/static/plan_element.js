/** <tomas-plan dag run [task] [step]>: the plan of a run, planned against actual. */

import { h, svg } from "./dom.js";
import { TomasElement, emptyState, notice, panel, problemState } from "./element.js";
import * as format from "./format.js";
import { drawGantt, drawStrips, timeFrame } from "./gantt.js";
import { drawGraph } from "./graph.js";
import { drawHead, drawNotices, drawResults, drawTiles } from "./header.js";
import { planView, taskPath } from "./model.js";
import { Poll, apiUrl } from "./poll.js";
import { binColour } from "./style.js";
import { drawTable } from "./table.js";

const WAITING = new Set([null, "scheduled", "queued", "running", "deferred", "restarting", "up_for_retry", "up_for_reschedule"]);

class TomasPlan extends TomasElement {
  static observedAttributes = ["dag", "run"];

  #poll = null;
  #payload = null;
  #problem = null;
  #answered = null;
  #plan = null;
  #opened = false;
  #selected = null;
  #filter = "";
  #wholeTask = false;
  #sort = { key: "step", down: false };

  begin() {
    this.#payload = this.#problem = null;
    this.#selected = this.getAttribute("step");
    this.#plan = this.getAttribute("task");
    this.#opened = false;
    this.#poll = new Poll({
      url: () => apiUrl("plans", this.getAttribute("dag"), this.getAttribute("run")),
      onData: (payload) => {
        this.#payload = payload;
        this.#problem = null;
        this.#answered = Date.now();
        this.draw();
        return this.#goesOn();
      },
      onProblem: (problem) => {
        this.#problem = problem;
        this.draw();
      },
    });
    this.draw();
    this.#poll.start();
  }

  end() {
    this.#poll?.stop();
  }

  #goesOn() {
    const { plans, plan_tasks: tasks, run } = this.#payload;
    const over = plans.every((entry) => planView(entry, this.#now()).over) && tasks.every((task) => !WAITING.has(task.state));
    return !(over || ["success", "failed"].includes(run.state));
  }

  /** The server's clock: what is drawn was stamped there. */
  #now() {
    return Date.parse(this.#payload.server_time) + (Date.now() - this.#answered);
  }

  draw() {
    if (!this.shadowRoot) return;
    const [state, content] = this.#content();
    this.dataset.state = state;
    this.show(content);
    if (state === "ready" && !this.#opened) this.#open();
  }

  /** At the first drawing: what was asked for, or the start of the critical path, is in view. */
  #open() {
    this.#opened = true;
    const first = this.#selected ? `[data-step="${CSS.escape(this.#selected)}"]` : ".node.critical";
    for (const mark of this.shadowRoot.querySelectorAll(first)) {
      reveal(mark);
      if (!this.#selected) break;
    }
  }

  #content() {
    const retry = () => this.#poll.now();
    if (!this.#payload) {
      if (!this.#problem) return ["loading", emptyState("Loading the plan\u2026")];
      if (this.#problem.error === "no_plan") return ["no-plan", emptyState("No plan in this run", this.#problem.remedy)];
      return [this.#problem.status === 503 ? "store-down" : "problem", problemState(this.#problem, retry)];
    }
    const { plans, plan_tasks: tasks } = this.#payload;
    const stale = this.#problem
      ? notice("bad", `${this.#problem.message} Shown is the state of ${format.clock(this.#payload.server_time)}.`, this.#problem.remedy)
      : null;
    const entry = plans.find((candidate) => candidate.task_id === this.#plan) ?? plans[0];
    if (!entry) return [this.#noPlanState(), [stale, this.#noPlan(tasks)]];
    return ["ready", [stale, this.#chooser(plans, entry), this.#drawPlan(entry, tasks)]];
  }

  #noPlanState() {
    const { plan_tasks: tasks } = this.#payload;
    return tasks.some((task) => task.state === "failed" || task.state === "upstream_failed") ? "plan-failed" : "planning";
  }

  #noPlan(tasks) {
    return tasks.map((task) => {
      const link = h("a", { href: taskPath(this.getAttribute("dag"), this.getAttribute("run"), task), "data-route": true }, `Log of ${task.task_id}`);
      if (task.state === "failed") {
        const text = task.error?.message || "The plan task failed before it released a plan; its log names the cause.";
        return emptyState("No plan was released", text, task.error?.remedy ? h("p", null, task.error.remedy) : null, link);
      }
      if (!WAITING.has(task.state)) return emptyState(`The plan task ${task.task_id} is ${format.stateWords(task.state)}`, "It released no plan.", link);
      const doing = task.state === "running" || task.state === "deferred" ? "is making the plan" : `is ${format.stateWords(task.state ?? "not yet scheduled")}`;
      return emptyState("The plan is not there yet", `Task ${task.task_id} ${doing}. This page updates by itself.`, link);
    });
  }

  #chooser(plans, current) {
    if (plans.length < 2) return null;
    return h(
      "div",
      { role: "tablist", "aria-label": "Plans of this run", style: { display: "flex", gap: "8px", "flex-wrap": "wrap" } },
      plans.map((entry) =>
        h(
          "button",
          { type: "button", role: "tab", "aria-selected": String(entry === current), "data-key": `plan ${entry.task_id}`, on: { click: () => this.#choose(entry.task_id) } },
          entry.task_id,
        ),
      ),
    );
  }

  #toggleTask() {
    this.#wholeTask = !this.#wholeTask;
    this.draw();
  }

  #choose(taskId) {
    this.#plan = taskId;
    this.#selected = null;
    this.draw();
  }

  #drawPlan(entry, tasks) {
    const view = { ...planView(entry, this.#now()), taskId: entry.task_id };
    const binIndex = new BinIndex(view.bins);
    const select = (stepId) => this.#select(stepId);
    const width = Math.max(300, this.clientWidth - 6);
    const frame = timeFrame(view, width);
    const live = view.over ? null : h("span", null, `updated ${format.clock(this.#payload.server_time)}`);
    const tableOptions = {
      dagId: this.#payload.dag_id,
      runId: this.#payload.run_id,
      selected: this.#selected,
      select,
      filter: this.#filter,
      sort: this.#sort,
      setSort: (key) => {
        this.#sort = { key, down: this.#sort.key === key && !this.#sort.down };
        this.draw();
      },
    };
    return [
      drawHead(view, live, { whole: this.#wholeTask, toggle: () => this.#toggleTask() }),
      drawNotices(view, tasks),
      drawTiles(view),
      panel(
        "Steps and dependencies",
        binLegend(view, binIndex),
        h("div", { class: "scroll graph body" }, drawGraph(view, width - 34, binIndex, this.#selected, select)),
      ),
      panel("Timeline", timelineLegend(view), drawGantt(view, frame, binIndex, this.#selected, select)),
      panel("Forecast capacity and planned load", stripLegend(entry), drawStrips(view, frame, binIndex)),
      panel("Allocations", this.#filterBox(view), drawTable(view, binIndex, tableOptions)),
      h("section", { class: "panel", "aria-label": "Explanation and results" }, drawResults(view)),
    ];
  }

  #select(stepId) {
    this.#selected = this.#selected === stepId ? null : stepId;
    this.draw();
    if (!this.#selected) return;
    // Each box scrolls by itself so that the page stays where the reader is.
    for (const mark of this.shadowRoot.querySelectorAll(`[data-step="${CSS.escape(stepId)}"]`)) reveal(mark);
  }

  #filterBox(view) {
    if (view.rows.length < 8) return null;
    return h(
      "label",
      { class: "legend" },
      h("span", { class: "hidden-label" }, "Filter steps"),
      h("input", {
        type: "search",
        placeholder: "Filter steps, tools, bins",
        value: this.#filter,
        "data-key": "filter",
        on: {
          input: (event) => {
            this.#filter = event.target.value;
            this.draw();
          },
        },
      }),
    );
  }
}

function reveal(mark) {
  const box = mark.closest(".scroll");
  if (!box) return;
  const inner = mark.getBoundingClientRect();
  const outer = box.getBoundingClientRect();
  if (inner.top < outer.top + 40) box.scrollTop -= outer.top + 40 - inner.top;
  else if (inner.bottom > outer.bottom) box.scrollTop += Math.min(inner.bottom - outer.bottom + 12, inner.top - outer.top - 40);
  if (inner.width > outer.width) return;
  if (inner.left < outer.left) box.scrollLeft -= outer.left - inner.left + 12;
  else if (inner.right > outer.right) box.scrollLeft += inner.right - outer.right + 12;
}

class BinIndex {
  #places;

  constructor(bins) {
    this.#places = new Map(bins.map((bin, index) => [bin.name, index]));
  }

  /** Colour of a bin, the same in graph, timeline and table. */
  colour(name) {
    return binColour(this.#places.get(name) ?? 0);
  }
}

const swatch = (...shapes) => svg("svg", { width: 22, height: 11, "aria-hidden": "true" }, shapes);

function binLegend(view, binIndex) {
  return h(
    "div",
    { class: "legend" },
    view.bins.slice(0, 8).map((bin) => h("span", null, swatch(svg("rect", { x: 8, width: 11, height: 11, rx: 2.5, fill: binIndex.colour(bin.name) })), bin.name)),
    view.bins.length > 8 ? h("span", null, `and ${view.bins.length - 8} more`) : null,
    h("span", null, swatch(svg("line", { x1: 0, x2: 22, y1: 5.5, y2: 5.5, class: "edge critical" })), "critical path"),
    view.chain.links.some((link) => link.kind === "bin")
      ? h("span", null, swatch(svg("line", { x1: 0, x2: 22, y1: 5.5, y2: 5.5, class: "edge bin" })), "waits for room")
      : null,
  );
}

function timelineLegend(view) {
  return h(
    "div",
    { class: "legend" },
    h("span", null, swatch([svg("rect", { class: "planned", x: 1, y: 1, width: 20, height: 9, rx: 2, style: { "--bin": binColour(0) } }), svg("rect", { class: "median", x: 1, y: 1, width: 13, height: 9, rx: 2, style: { "--bin": binColour(0) } })]), "planned, shaded to p50"),
    h("span", null, swatch(hatched()), "waited"),
    h("span", null, swatch(svg("rect", { class: "ran", y: 1, width: 22, height: 9, rx: 2, style: { "--state": "var(--ok)" } })), "ran, difference from p50"),
    view.dispatchedMs !== null && Math.abs(view.dispatchedMs) > 1 ? h("span", null, swatch(svg("line", { class: "released", x1: 11, x2: 11, y1: 0, y2: 11 })), "actual release") : null,
  );
}

function hatched() {
  const strokes = [2, 7, 12, 17].map((x) => svg("line", { x1: x, x2: x + 5, y1: 10, y2: 1, stroke: "var(--idle)", "stroke-width": 1.6 }));
  return [svg("rect", { class: "waited", x: 0.5, y: 0.5, width: 21, height: 10, rx: 1.5, fill: "none" }), strokes];
}

function stripLegend(entry) {
  const curve = entry.forecast[0];
  const source = curve ? `free (${format.percent(curve.quantile)} quantile, ${curve.source})` : "no forecast";
  return h(
    "div",
    { class: "legend" },
    h("span", null, swatch(svg("rect", { class: "free", y: 2, width: 22, height: 9 }), svg("line", { class: "free-line", x1: 0, x2: 22, y1: 2, y2: 2 })), source),
    h("span", null, swatch(svg("rect", { class: "load", y: 2, width: 22, height: 9, style: { "--bin": binColour(0) } }), svg("line", { class: "load-line", x1: 0, x2: 22, y1: 2, y2: 2, style: { "--bin": binColour(0) } })), "planned load at p90"),
    h("span", null, swatch(svg("line", { class: "capacity", x1: 0, x2: 22, y1: 5.5, y2: 5.5 })), "capacity"),
  );
}

customElements.get("tomas-plan") ?? customElements.define("tomas-plan", TomasPlan);
