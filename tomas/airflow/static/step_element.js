/** <tomas-step dag run task map>: the step that one task instance runs. */

import { h } from "./dom.js";
import { TomasElement, emptyState, notice, panel, problemState } from "./element.js";
import * as format from "./format.js";
import { averageCores, planPath, planView, slotWords } from "./model.js";
import { Poll, apiUrl } from "./poll.js";
import { binColour } from "./style.js";
import { binChip, logLink, statePill, stepDetail } from "./table.js";

class TomasStep extends TomasElement {
  static observedAttributes = ["dag", "run", "task", "map"];

  #poll = null;
  #payload = null;
  #problem = null;
  #answered = null;

  begin() {
    this.#payload = this.#problem = null;
    this.#poll = new Poll({
      url: () => {
        const url = apiUrl("steps", this.getAttribute("dag"), this.getAttribute("run"), this.getAttribute("task"));
        url.searchParams.set("map_index", this.getAttribute("map") ?? "-1");
        return url;
      },
      onData: (payload) => {
        this.#payload = payload;
        this.#problem = null;
        this.#answered = Date.now();
        this.draw();
        return !["success", "failed", "upstream_failed", "skipped", "removed"].includes(this.#row().state);
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

  #view() {
    return planView(this.#payload.plan, Date.parse(this.#payload.server_time) + (Date.now() - this.#answered));
  }

  #row() {
    return this.#view().rows.find((row) => row.step.id === this.#payload.step_id);
  }

  draw() {
    if (!this.shadowRoot) return;
    const [state, content] = this.#content();
    this.dataset.state = state;
    this.show(content);
  }

  #content() {
    const planLink = h("a", { href: planPath(this.getAttribute("dag"), this.getAttribute("run")), "data-route": true }, "Open the plan of this run");
    if (!this.#payload) {
      if (!this.#problem) return ["loading", emptyState("Loading the step\u2026")];
      const { error, message, remedy, status } = this.#problem;
      if (error === "not_a_step") return ["not-a-step", emptyState("Not a step of a plan", message, h("p", null, remedy))];
      if (error === "plan_task") return ["plan-task", emptyState("This task makes the plan", "Its steps are shown on the run's page.", planLink)];
      return [status === 503 ? "store-down" : "problem", problemState(this.#problem, () => this.#poll.now())];
    }
    const stale = this.#problem
      ? notice("bad", `${this.#problem.message} Shown is the state of ${format.clock(this.#payload.server_time)}.`, this.#problem.remedy)
      : null;
    return ["ready", [stale, this.#drawStep()]];
  }

  #drawStep() {
    const view = this.#view();
    const row = this.#row();
    const { step, last } = row;
    const { dag_id: dagId, run_id: runId } = this.#payload;
    const places = { colour: (name) => binColour(view.bins.findIndex((bin) => bin.name === name)) };
    return [
      h(
        "div",
        { class: "head" },
        h(
          "div",
          { class: "title" },
          h("h2", null, step.tool, row.critical ? h("span", { class: "crit-mark" }, "on the critical path") : null),
          h("div", { class: "facts" }, [
            h("span", null, `step ${step.id}`),
            binChip(step.bin, places),
            h("span", null, `queue ${step.queue}`),
            h("span", null, `pool ${step.pool}, ${slotWords(row)}`),
          ]),
        ),
        h("div", { class: "live" }, [
          logLink(row, { dagId, runId }, "Open the log"),
          h("a", { href: planPath(dagId, runId, step.id), "data-route": true }, "Show in the plan"),
          statePill(row.state, row.state === "running"),
        ]),
      ),
      failure(last),
      panel("Predicted and measured", null, h("div", { class: "body bars" }, comparisons(row))),
      panel("Details", null, h("div", { class: "body" }, stepDetail(row, view))),
      h("p", { class: "muted small" }, "Task of the plan: ", h("span", { lang: view.plan.language }, view.plan.request.task)),
    ];
  }
}

function failure(last) {
  if (!last || last.running || last.outcome === "success") return null;
  const { error } = last.record;
  const words = { out_of_memory: "The tool ran out of memory", timeout: "The tool ran out of time", killed: "The tool was killed" };
  return notice("bad", words[last.outcome] ?? "The tool failed", ...[error, last.usage.evidence].filter(Boolean));
}

function comparisons(row) {
  const { step, last } = row;
  const requested = last?.record.requested ?? step.allocation.final;
  const ran = last ? last.endMs - last.startMs : null;
  const lines = [
    bar("Run time", ran, step.latency_p50_ms, step.latency_p90_ms, format.duration, "p50", "p90", "var(--warn)"),
    bar("Peak memory", last?.usage.peak_mem_gb ?? null, null, requested.cpu_mem_gb, format.gigabytes, null, "limit"),
    bar("Cores, average", last ? averageCores(last.usage) : null, null, requested.cpu_cores, format.trimmed, null, "requested", "var(--warn)"),
  ];
  if (requested.gpu_mem_gb > 0) lines.push(bar("GPU memory", last?.usage.gpu_peak_mem_gb ?? null, null, requested.gpu_mem_gb, format.gigabytes, null, "requested"));
  if (requested.gpu_sm > 0) lines.push(bar("GPU, average", last?.usage.gpu_sm_mean ?? null, null, requested.gpu_sm, (v) => `${format.trimmed(v)} %`, null, "requested"));
  return lines;
}

/** One measured value against a lower and an upper mark on a common scale. */
function bar(title, value, low, high, words, lowName, highName, overColour = "var(--bad)") {
  const top = Math.max(value ?? 0, high) * 1.1 || 1;
  const at = (amount) => `${(100 * amount) / top}%`;
  const over = value !== null && value > high;
  const legend = [
    value === null ? "not measured yet" : words(value),
    lowName ? `${lowName} ${words(low)}` : null,
    `${highName} ${words(high)}`,
  ];
  return h(
    "div",
    { class: "bar-line", role: "img", "aria-label": `${title}: ${legend.filter(Boolean).join(", ")}` },
    h("span", { class: "muted" }, title),
    h("div", { class: "track" }, [
      value === null ? null : h("span", { class: "value", style: { width: at(value), "--fill": over ? overColour : "var(--accent)" } }),
      low === null ? null : h("span", { class: "mark", style: { left: at(low), opacity: 0.45 } }),
      h("span", { class: "mark", style: { left: at(high) } }),
    ]),
    h("span", { class: "small nowrap" }, h("b", null, legend[0]), h("span", { class: "muted" }, ` \u00b7 ${legend.slice(1).filter(Boolean).join(" \u00b7 ")}`)),
  );
}

customElements.get("tomas-step") ?? customElements.define("tomas-step", TomasStep);
