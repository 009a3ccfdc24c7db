/**
 * Joins what the API returns (plan, execution records, task instances) into what the page draws.
 * Pure: `now` is an argument, nothing is read from the page.
 */

import * as format from "./format.js";
import { criticalChain, slack } from "./layout.js";

const FINAL = new Set(["success", "failed", "upstream_failed", "skipped", "removed"]);
const PLAN_FINAL = new Set(["succeeded", "failed", "superseded"]);
const MEMORY_MARGIN = 1.2;
const MEMORY_AFTER_OOM = 1.5;
const MEMORY_GRAIN_GB = 0.125;
const CORE_GRAIN = 0.25;
const WORTH_SHRINKING = 0.75;

const instant = (iso) => (iso ? Date.parse(iso) : null);

/** Whether a task of Airflow will not change any more by itself. */
export function isFinal(state) {
  return FINAL.has(state);
}

/**
 * The view of one plan.
 *
 * Times `…Ms` count from the planned release (`plan.release_at`), so that planned and actual bars share
 * one clock and a late dispatch shows.
 *
 * @param entry one element of the API's `plans`
 * @param now ms since the epoch
 */
export function planView(entry, now) {
  const { plan } = entry;
  const zero = instant(plan.release_at);
  const chain = criticalChain(plan.steps, plan.hand_over_predicted_ms);
  const slacks = slack(plan.steps, plan.hand_over_predicted_ms);
  const rows = plan.steps.map((step, index) => row(step, index, entry.steps?.[step.id] ?? {}, zero, now, chain, slacks));
  const begun = rows.flatMap((r) => r.tries).map((t) => t.startMs);
  const ended = rows.flatMap((r) => r.tries).filter((t) => !t.running).map((t) => t.endMs);
  const dispatched = dispatchMs(plan, begun, zero);
  const over = PLAN_FINAL.has(plan.status) || (rows.length > 0 && rows.every((r) => isFinal(r.state)));
  const ends = [...rows.map((r) => r.plannedP90Ms), ...rows.flatMap((r) => r.tries).map((t) => t.endMs)];
  const lastMs = Math.max(plan.makespan_ms, ...ends, 1);
  const status = shownStatus(plan.status, rows, over);
  return {
    plan,
    zero,
    rows,
    chain,
    over,
    status,
    dispatchedMs: dispatched,
    nowMs: over ? null : now - zero,
    beginMs: Math.min(0, ...rows.flatMap((r) => r.tries).map((t) => t.readyMs)),
    spanMs: lastMs,
    actualMakespanMs: over && ended.length && dispatched !== null ? Math.max(...ended) - dispatched : null,
    elapsedMs: !over && dispatched !== null ? Math.max(0, now - zero - dispatched) : null,
    done: rows.filter((r) => r.state === "success").length,
    failed: rows.filter((r) => r.state === "failed" || r.state === "upstream_failed").length,
    running: rows.filter((r) => r.state === "running").length,
    bins: binsOf(entry),
  };
}

function shownStatus(status, rows, over) {
  if (PLAN_FINAL.has(status)) return status;
  if (over) return rows.every((r) => r.state === "success") ? "succeeded" : "failed";
  return rows.some((r) => r.tries.length) ? "running" : status;
}

/** When the first step could really start: as logged, and no later than the first start. */
function dispatchMs(plan, begun, zero) {
  const first = begun.length ? Math.min(...begun) : null;
  if (plan.t_inf_actual_ms === null || plan.t_inf_actual_ms === undefined) return first;
  if (plan.dispatch_lag_actual_ms === null || plan.dispatch_lag_actual_ms === undefined) return first;
  const logged = instant(plan.created_at) + plan.t_inf_actual_ms + plan.dispatch_lag_actual_ms - zero;
  return first === null ? logged : Math.min(logged, first);
}

function row(step, index, facts, zero, now, chain, slacks) {
  const task = facts.task ?? null;
  const records = [...(facts.records ?? [])].sort((a, b) => a.try_number - b.try_number);
  const tries = records.map((record) => tryOf(record, task, records, zero, now));
  const last = tries.at(-1) ?? null;
  return {
    index,
    step,
    task,
    records,
    tries,
    last,
    state: stateOf(task, last),
    critical: chain.steps.has(step.id),
    slackMs: slacks.get(step.id),
    plannedP90Ms: Math.max(step.end_ms, step.start_ms + step.latency_p90_ms),
    waitingSinceMs: last === null && task?.queued ? instant(task.queued) - zero : null,
    runDifferenceMs: last?.outcome === "success" && !last.running ? last.endMs - last.startMs - step.latency_p50_ms : null,
    endDifferenceMs: last && !last.running ? last.endMs - step.end_ms : null,
    suggestion: last && !last.running ? suggest(step, last.record) : null,
  };
}

function tryOf(record, task, records, zero, now) {
  const startMs = instant(record.started_at) - zero;
  // A killed process leaves its record open: Airflow's verdict ends it.
  const following = records[records.indexOf(record) + 1];
  const closedBy = record.ended_at ?? following?.started_at ?? (isFinal(task?.state) ? task.end : null);
  const open = closedBy === null || closedBy === undefined;
  const endMs = open ? Math.max(startMs, now - zero) : Math.max(startMs, instant(closedBy) - zero);
  const unfinished = !record.ended_at && !open;
  return {
    record,
    number: record.try_number,
    readyMs: startMs - (record.waited_ms ?? 0),
    startMs,
    endMs,
    running: open,
    outcome: unfinished ? "killed" : record.usage.outcome,
    usage: record.usage,
  };
}

function stateOf(task, last) {
  if (task?.state) return task.state;
  if (!last) return "planned";
  if (last.running) return "running";
  return last.outcome === "success" ? "success" : "failed";
}

function binsOf(entry) {
  const capacities = new Map((entry.bins ?? []).map((bin) => [bin.name, bin]));
  const used = [...new Set(entry.plan.steps.map((step) => step.bin))];
  return used.map((name) => {
    const step = entry.plan.steps.find((candidate) => candidate.bin === name);
    return {
      name,
      workerClass: step.worker_class,
      queue: step.queue,
      pool: step.pool,
      capacity: capacities.get(name)?.capacity ?? null,
      curve: (entry.forecast ?? []).find((curve) => curve.bin === name) ?? null,
    };
  });
}

/**
 * What this one try suggests to request next time: the measured peak plus a fifth, in grains of 1/8 GB,
 * and the cores it kept busy in grains of 1/4. After an out-of-memory the peak is only a lower bound.
 *
 * @returns `{cpu_cores, cpu_mem_gb, atLeast, verdict: "fits" | "smaller" | "tight" | "larger"}` or null without use
 */
export function suggest(step, record) {
  const { usage, requested } = record;
  if (!usage || !(usage.peak_mem_gb > 0)) return null;
  const outOfMemory = usage.outcome === "out_of_memory";
  const seen = outOfMemory ? Math.max(usage.peak_mem_gb, requested.cpu_mem_gb) : usage.peak_mem_gb;
  const wanted = seen * (outOfMemory ? MEMORY_AFTER_OOM : MEMORY_MARGIN);
  const memory = Math.max(MEMORY_GRAIN_GB, Math.ceil(wanted / MEMORY_GRAIN_GB - 1e-9) * MEMORY_GRAIN_GB);
  const busy = averageCores(usage);
  const cpu = busy === null ? requested.cpu_cores : Math.max(CORE_GRAIN, Math.ceil(busy / CORE_GRAIN - 1e-9) * CORE_GRAIN);
  // More than the requested cores cannot be seen: the child process is bound to them.
  const kept = Math.min(cpu, Math.max(requested.cpu_cores, CORE_GRAIN));
  const spare = memory < requested.cpu_mem_gb * WORTH_SHRINKING || kept < requested.cpu_cores * WORTH_SHRINKING;
  const tight = memory > requested.cpu_mem_gb + 1e-9 ? "tight" : spare ? "smaller" : "fits";
  const verdict = outOfMemory ? "larger" : tight;
  return { cpu_cores: kept, cpu_mem_gb: memory, atLeast: outOfMemory, verdict };
}

/** What a try had beyond its plan, in words; null where it had what was planned. */
export function moreThanPlanned(step, record) {
  const planned = step.allocation.final.cpu_mem_gb;
  const given = record.requested.cpu_mem_gb;
  if (given <= planned + 1e-9) return null;
  return `${format.gigabytes(given)} of memory in place of ${format.gigabytes(planned)}, as a try before ran out of it`;
}

/** Slots of its pool that a step holds, and those planned where they are fewer. */
export function slotWords({ step, task }) {
  const planned = format.count(step.pool_slots, "slot");
  const grown = task && task.pool === step.pool && task.pool_slots > step.pool_slots;
  return grown ? `${format.count(task.pool_slots, "slot")}, planned: ${step.pool_slots}` : planned;
}

/** Cores kept busy on average over a try, or null where it was too short to tell. */
export function averageCores(usage) {
  return usage && usage.wall_ms >= 1 ? usage.cpu_seconds / (usage.wall_ms / 1000) : null;
}

/** Address of a task instance's page inside Airflow, relative to its base. */
export function taskPath(dagId, runId, task, tryNumber) {
  const part = encodeURIComponent;
  const mapped = task.map_index >= 0 ? `/mapped/${task.map_index}` : "";
  const tries = tryNumber ? `?try_number=${tryNumber}` : "";
  return `dags/${part(dagId)}/runs/${part(runId)}/tasks/${part(task.task_id)}${mapped}${tries}`;
}

/** Address of the Plan tab inside Airflow, with a step selected where one is given. */
export function planPath(dagId, runId, stepId) {
  const part = encodeURIComponent;
  return `dags/${part(dagId)}/runs/${part(runId)}/plugin/tomas-plan${stepId ? `?step=${part(stepId)}` : ""}`;
}

/** One binding of a step's input in words. */
export function bindingWords(binding) {
  return binding.source === "request" ? `request: ${binding.name}` : `${binding.step} \u2192 ${binding.output}`;
}

/** The last three parts of an address; a tooltip gives the whole. */
export function shortUri(uri) {
  const parts = uri.split("/");
  return parts.length > 5 ? `\u2026/${parts.slice(-3).join("/")}` : uri;
}

/** Last two parts of the folder that all addresses share, or its whole where it is short. */
export function commonFolder(uris) {
  const parts = uris.map((uri) => uri.split("/").slice(0, -1));
  const shared = parts[0].filter((part, i) => parts.every((other) => other.slice(0, i + 1).join("/") === parts[0].slice(0, i + 1).join("/")));
  if (!shared.length) return "several places";
  return shared.length > 4 ? `\u2026/${shared.slice(-2).join("/")}/` : `${shared.join("/")}/`;
}
