import assert from "node:assert/strict";
import { test } from "node:test";

import {
  averageCores, bindingWords, commonFolder, moreThanPlanned, planPath, planView, shortUri, slotWords, suggest, taskPath,
} from "../../../tomas/airflow/static/model.js";

const ZERO = Date.parse("2026-03-02T09:30:00Z");
const at = (ms) => new Date(ZERO + ms).toISOString();

function step(id, after, start, end, bin = "small_1") {
  return {
    id, tool: `tool_${id}`, depends_on: after, bin, worker_class: "cpu-small", queue: "q", pool: "p", pool_slots: 50,
    start_ms: start, end_ms: end, latency_p50_ms: (end - start) * 0.8, latency_p90_ms: end - start,
    allocation: { final: { cpu_cores: 1, cpu_mem_gb: 1, gpu_sm: 0, gpu_mem_gb: 0 } },
  };
}

function record(number, start, end, outcome = "success", more = {}) {
  return {
    try_number: number, started_at: at(start), ended_at: end === null ? null : at(end), waited_ms: 100,
    requested: { cpu_cores: 1, cpu_mem_gb: 1, gpu_sm: 0, gpu_mem_gb: 0 }, outputs: [],
    usage: { wall_ms: 500, cpu_seconds: 0.4, peak_mem_gb: 0.5, outcome }, ...more,
  };
}

function entry(steps, facts, plan = {}) {
  return {
    task_id: "plan", bins: [{ name: "small_1", capacity: { cpu_cores: 1, cpu_mem_gb: 2, gpu_sm: 0, gpu_mem_gb: 0 } }], forecast: [],
    plan: {
      steps, release_at: at(0), created_at: at(-1000), makespan_ms: 1000, status: "running", request: {}, outputs: {},
      t_inf_actual_ms: null, dispatch_lag_actual_ms: null, ...plan,
    },
    steps: facts,
  };
}

const STEPS = [step("a", [], 0, 500), step("b", ["a"], 500, 1000)];
const task = (state, more = {}) => ({ task_id: "tool", map_index: 0, state, queued: at(0), start: at(0), end: at(900), ...more });

test("before anything ran every step is planned and the plan's own end is the span", () => {
  const view = planView(entry(STEPS, {}, { status: "released" }), ZERO);
  assert.deepEqual(view.rows.map((row) => row.state), ["planned", "planned"]);
  assert.equal(view.spanMs, 1000);
  assert.equal(view.status, "released");
  assert.equal(view.actualMakespanMs, null);
  assert.equal(view.over, false);
});

test("a finished run gives makespan, differences and waiting", () => {
  const facts = {
    a: { task: task("success"), records: [record(1, 200, 700)] },
    b: { task: task("success"), records: [record(1, 800, 1400)] },
  };
  const view = planView(entry(STEPS, facts), ZERO + 5000);
  assert.equal(view.over, true);
  assert.equal(view.status, "succeeded");
  assert.equal(view.nowMs, null);
  assert.equal(view.dispatchedMs, 200);
  assert.equal(view.actualMakespanMs, 1200);
  const [a] = view.rows;
  assert.equal(a.last.readyMs, 100);
  assert.equal(a.runDifferenceMs, 100);
  assert.equal(a.endDifferenceMs, 200);
});

test("a running step grows to now", () => {
  const facts = { a: { task: task("running", { end: null }), records: [record(1, 100, null, "running")] } };
  const view = planView(entry(STEPS, facts), ZERO + 700);
  assert.equal(view.rows[0].last.endMs, 700);
  assert.equal(view.rows[0].last.running, true);
  assert.equal(view.rows[0].runDifferenceMs, null);
  assert.equal(view.running, 1);
  assert.equal(view.elapsedMs, 600);
});

test("a record left open by a killed process ends with Airflow's verdict", () => {
  const facts = { a: { task: task("failed"), records: [record(1, 100, null, "running")] } };
  const [a] = planView(entry(STEPS, facts), ZERO + 9000).rows;
  assert.equal(a.last.running, false);
  assert.equal(a.last.endMs, 900);
  assert.equal(a.last.outcome, "killed");
});

test("an open record of an earlier try ends where the next begins", () => {
  const facts = { a: { task: task("success"), records: [record(2, 600, 900), record(1, 100, null, "running")] } };
  const [a] = planView(entry(STEPS, facts), ZERO + 9000).rows;
  assert.deepEqual(a.tries.map((attempt) => [attempt.number, attempt.endMs]), [[1, 600], [2, 900]]);
  assert.equal(a.last.number, 2);
});

test("a failed step makes the plan failed, its try shows no difference", () => {
  const facts = {
    a: { task: task("failed"), records: [record(1, 100, 300, "out_of_memory")] },
    b: { task: task("upstream_failed"), records: [] },
  };
  const view = planView(entry(STEPS, facts), ZERO + 9000);
  assert.equal(view.status, "failed");
  assert.equal(view.failed, 2);
  assert.equal(view.rows[0].runDifferenceMs, null);
});

test("logged planning times give the dispatch where no step has begun", () => {
  const view = planView(entry(STEPS, {}, { t_inf_actual_ms: 400, dispatch_lag_actual_ms: 900 }), ZERO + 500);
  assert.equal(view.dispatchedMs, 300);
});

test("steps that began before the planned release widen the axis to the left", () => {
  const view = planView(entry(STEPS, { a: { task: task("success"), records: [record(1, -700, -200)] } }), ZERO);
  assert.equal(view.beginMs, -800);
  assert.equal(planView(entry(STEPS, {}), ZERO).beginMs, 0);
});

test("a suggestion leaves a fifth above the peak", () => {
  assert.deepEqual(suggest(STEPS[0], record(1, 0, 500)), { cpu_cores: 1, cpu_mem_gb: 0.625, atLeast: false, verdict: "smaller" });
  const close = record(1, 0, 500, "success", { usage: { wall_ms: 500, cpu_seconds: 0.4, peak_mem_gb: 0.8, outcome: "success" } });
  assert.equal(suggest(STEPS[0], close).verdict, "fits");
  const tight = record(1, 0, 500, "success", { usage: { wall_ms: 500, cpu_seconds: 0.4, peak_mem_gb: 0.95, outcome: "success" } });
  assert.equal(suggest(STEPS[0], tight).verdict, "tight");
});

test("after an out-of-memory the suggestion is a lower bound above the request", () => {
  const found = suggest(STEPS[0], record(1, 0, 500, "out_of_memory"));
  assert.equal(found.atLeast, true);
  assert.equal(found.cpu_mem_gb, 1.5);
  assert.equal(found.verdict, "larger");
});

test("a try without measures suggests nothing", () => {
  const blank = record(1, 0, 500, "failed", { usage: { wall_ms: 0, cpu_seconds: 0, peak_mem_gb: 0, outcome: "failed" } });
  assert.equal(suggest(STEPS[0], blank), null);
  assert.equal(averageCores(blank.usage), null);
});

test("addresses quote what users name", () => {
  assert.equal(taskPath("d", "manual__2026-01-01T00:00:00+00:00", { task_id: "g.t", map_index: 3 }), "dags/d/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00/tasks/g.t/mapped/3");
  assert.equal(taskPath("d", "r/../x", { task_id: "t", map_index: -1 }, 2), "dags/d/runs/r%2F..%2Fx/tasks/t?try_number=2");
  assert.equal(planPath("d", "r", "s 1"), "dags/d/runs/r/plugin/tomas-plan?step=s%201");
});

test("bindings in words", () => {
  assert.equal(bindingWords({ source: "request", name: "images" }), "request: images");
  assert.equal(bindingWords({ source: "step", step: "s1", output: "boxes" }), "s1 \u2192 boxes");
});

test("many files are named by their common folder", () => {
  assert.equal(commonFolder(["s3://bucket/in/a.png", "s3://bucket/in/b.png"]), "s3://bucket/in/");
  assert.equal(commonFolder(["/very/deep/place/of/images/a.png", "/very/deep/place/of/images/b.png"]), "\u2026/of/images/");
  assert.equal(commonFolder(["/a/x/1.png", "/a/y/2.png"]), "/a/");
  assert.equal(commonFolder(["a.png", "b.png"]), "several places");
});

test("a long address keeps its end", () => {
  assert.equal(shortUri("s3://bucket/in/a.png"), "s3://bucket/in/a.png");
  assert.equal(shortUri("/srv/tomas/artifacts/plan/s1/1/labels.jsonl"), "\u2026/s1/1/labels.jsonl");
});

test("a try that got more than its plan says so, and the slots follow", () => {
  assert.equal(moreThanPlanned(STEPS[0], record(1, 0, 1)), null);
  const more = record(2, 0, 1, "success", { requested: { cpu_cores: 1, cpu_mem_gb: 2, gpu_sm: 0, gpu_mem_gb: 0 } });
  assert.equal(moreThanPlanned(STEPS[0], more), "2.00 GB of memory in place of 1.00 GB, as a try before ran out of it");
  assert.equal(slotWords({ step: STEPS[0], task: null }), "50 slots");
  assert.equal(slotWords({ step: STEPS[0], task: task("running", { pool: "p", pool_slots: 50 }) }), "50 slots");
  assert.equal(slotWords({ step: STEPS[0], task: task("running", { pool: "p", pool_slots: 100 }) }), "100 slots, planned: 50");
  assert.equal(slotWords({ step: STEPS[0], task: task("failed", { pool: "tomas_unrouted", pool_slots: 90 }) }), "50 slots");
});
