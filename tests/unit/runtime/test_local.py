"""Whole plans on this machine: real tools, real files, failures that stay where they belong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from tomas.config import DataSettings, Settings, shared_file
from tomas.errors import PlanRejected, ToolError, UnboundInput
from tomas.runtime.local import RunEvent, RunEventKind, run_plan
from tomas.runtime.step import run_step
from tomas.schema import (
    AllocationDecision,
    Bin,
    ExecutionRecord,
    Outcome,
    Plan,
    PlannerInfo,
    PlanRequest,
    PlanStep,
    RequestBinding,
    RequestInput,
    Resources,
    StepBinding,
    Tool,
    utc_now,
)
from tomas.tools.data import load_worker_classes
from tomas.tools.registry import Registry

HERE = Path(__file__).parent


def step(name: str, tool: str, inputs: dict[str, Any], **fields: Any) -> PlanStep:
    """A step on ``small_1``; inputs are given as ``"request:NAME"`` or ``"STEP.OUTPUT"``."""
    bound: dict[str, Any] = {}
    parents: list[str] = []
    for port, sources in inputs.items():
        bound[port] = []
        for source in sources:
            if source.startswith("request:"):
                bound[port].append(RequestBinding(name=source.removeprefix("request:")))
            else:
                parent, _, output = source.partition(".")
                bound[port].append(StepBinding(step=parent, output=output))
                parents.append(parent)
    need = fields.pop("need", Resources(cpu_cores=1, cpu_mem_gb=1))
    values: dict[str, Any] = {
        "id": name,
        "tool": tool,
        "inputs": bound,
        "depends_on": sorted(set(parents)),
        "predicted_input_bytes": 1,
        "allocation": AllocationDecision(floor=need, final=need, why="test"),
        "latency_p50_ms": 1,
        "latency_p90_ms": 1,
        "start_ms": 0,
        "end_ms": 1,
        "bin": "small_1",
        "worker_class": "cpu-small",
        "queue": "tomas_small_1",
        "pool": "tomas_small_1",
        "pool_slots": 50,
        "confidence": 1,
    }
    return PlanStep(**(values | fields))


def plan(steps: list[PlanStep], inputs: dict[str, RequestInput] | None = None, **fields: Any) -> Plan:
    now = utc_now()
    return Plan(
        request=PlanRequest(task="test", inputs=inputs or {}, **fields),
        language="en",
        planner=PlannerInfo(kind="test", version="1"),
        created_at=now,
        release_at=now,
        t_inf_predicted_ms=0,
        dispatch_lag_predicted_ms=0,
        forecast=[],
        steps=steps,
        makespan_ms=1,
    )


def helper(function: str, **fields: Any) -> Tool:
    row: dict[str, Any] = {
        "name": function,
        "family": "test",
        "description": "A tool of the tests.",
        "inputs": [{"name": "files", "type": "*/*", "required": False}],
        "outputs": [{"name": "result", "type": "application/jsonl"}],
        "input_size": {"small_max_bytes": 1000, "medium_max_bytes": 2000},
        "runner": {"kind": "python", "callable": f"runtime_helpers:{function}"},
    }
    return Tool.model_validate(row | fields)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> list[Tool]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(HERE)])
    return [helper("note"), helper("break_down"), helper("sleep_long"), helper("grow")]


class StoreOnPaper:
    """Keeps what a store is told, in order; the SQL side has tests of its own."""

    def __init__(self) -> None:
        self.saved: list[ExecutionRecord] = []
        self.released: list[tuple[str, str]] = []
        self.statuses: list[str] = []
        self.all_released = 0

    def bins(self) -> list[Bin]:
        return [item for group in load_worker_classes() for item in group.bins]

    def save_record(self, record: ExecutionRecord) -> None:
        self.saved.append(record)

    def release_reservation(self, plan_id: str, step_id: str) -> None:
        self.released.append((plan_id, step_id))

    def set_plan_status(self, plan_id: str, status: str) -> None:
        self.statuses.append(str(status))

    def release_plan_reservations(self, plan_id: str) -> None:
        self.all_released += 1


def test_a_plan_with_fan_out_and_join_over_the_samples(tmp_path: Path) -> None:
    samples = shared_file("data/samples")
    inputs = {
        "images": RequestInput(type="image/*", uris=[str(samples / "images" / "c*.jpg")]),
        "documents": RequestInput(type="text/plain", uris=[f"file://{samples}/documents"]),
    }
    large = {"bin": "large_1", "queue": "tomas_large_1", "pool": "tomas_large_1"}
    steps = [
        step("s1", "image_preprocessing", {"images": ["request:images"]}, arguments={"max_side": 160}),
        step("s2", "image_deduplication", {"images": ["s1.images"]}, **large),
        step("s3", "object_detection", {"images": ["s1.images"]}),
        step("s4", "keyword_extraction", {"documents": ["request:documents"]}, **large),
        step("s5", "language_detection", {"documents": ["request:documents"]}),
        step(
            "s6",
            "report_generation",
            {
                "records": ["s2.groups", "s3.objects", "s4.keywords", "s5.languages"],
                "images": ["s1.images"],
            },
        ),
    ]
    events: list[RunEvent] = []
    records = run_plan(plan(steps, inputs), Registry.load(), artifacts_dir=tmp_path, on_event=events.append)
    assert {record.usage.outcome for record in records} == {Outcome.SUCCESS}
    ended = [record.step_id for record in records]
    assert sorted(ended) == ["s1", "s2", "s3", "s4", "s5", "s6"]
    assert ended[-1] == "s6"
    by_step = {record.step_id: record for record in records}
    assert by_step["s2"].started_at >= (by_step["s1"].ended_at or utc_now())
    assert by_step["s1"].input_bytes == sum(path.stat().st_size for path in (samples / "images").glob("c*.jpg"))
    page = Path(by_step["s6"].outputs[0].uri).read_text(encoding="utf-8")
    for part in ("<h2>groups (2)</h2>", "<h2>languages (6)</h2>", "chelsea.png", "data:image/jpeg"):
        assert part in page
    assert [event.kind for event in events].count(RunEventKind.SUCCEEDED) == 6
    assert "succeeded in" in str(events[-1])


def test_a_failure_skips_its_descendants_only(tmp_path: Path, tools: list[Tool]) -> None:
    steps = [
        step("bad", "break_down", {}),
        step("child", "note", {"files": ["bad.result"]}),
        step("grandchild", "note", {"files": ["child.result"]}),
        step("other", "note", {}),
        step("after_other", "note", {"files": ["other.result"]}),
    ]
    store, events = StoreOnPaper(), []
    made = plan(steps, tools=tools)
    records = run_plan(made, Registry([]), store, artifacts_dir=tmp_path, on_event=events.append)  # type: ignore[arg-type]
    outcome = {record.step_id: record.usage.outcome for record in records}
    assert outcome == {"bad": Outcome.FAILED, "other": Outcome.SUCCESS, "after_other": Outcome.SUCCESS}
    skipped = [event.step.id for event in events if event.kind is RunEventKind.SKIPPED]
    assert skipped == ["child", "grandchild"]
    assert store.statuses == ["running", "failed"]
    assert {name for _, name in store.released} == set(outcome)
    assert store.all_released == 1
    failed = next(record for record in records if record.step_id == "bad")
    assert "RuntimeError: no luck" in (failed.error or "")
    assert not (tmp_path / made.id / "bad" / "1").exists()  # partial outputs are gone
    assert store.saved[0].usage.outcome is Outcome.RUNNING


def test_steps_wait_for_slots_of_their_own_pool(tmp_path: Path, tools: list[Tool]) -> None:
    steps = [step(f"s{n}", "note", {}, pool_slots=60, arguments={"seconds": 0.3}) for n in range(3)]
    elsewhere = {"bin": "large_1", "queue": "tomas_large_1", "pool": "tomas_large_1"}
    steps.append(step("free", "note", {}, arguments={"seconds": 0.3}, **elsewhere))
    records = run_plan(plan(steps, tools=tools), Registry([]), artifacts_dir=tmp_path)
    crowded = sorted((r for r in records if r.step_id != "free"), key=lambda r: r.started_at)
    for before, after in pairwise(crowded):
        assert before.ended_at is not None
        assert after.started_at >= before.ended_at
    assert crowded[-1].waited_ms >= 600
    free = next(record for record in records if record.step_id == "free")
    assert free.started_at < (crowded[0].ended_at or utc_now())


def test_a_step_out_of_memory_is_tried_again_with_more(tmp_path: Path, tools: list[Tool]) -> None:
    small = Resources(cpu_cores=0.25, cpu_mem_gb=0.125)
    grows = step("s", "grow", {}, need=small, pool_slots=25, arguments={"mb": 300})
    beside = step("beside", "note", {}, pool_slots=80, arguments={"seconds": 0.5})
    after = step("after", "note", {"files": ["s.result"]})
    events: list[RunEvent] = []
    made = plan([grows, beside, after], tools=tools)
    records = run_plan(made, Registry([]), artifacts_dir=tmp_path, on_event=events.append)
    tries = [record for record in records if record.step_id == "s"]
    out, good = Outcome.OUT_OF_MEMORY, Outcome.SUCCESS
    assert [(r.try_number, r.requested.cpu_mem_gb, r.usage.outcome) for r in tries] == [
        (1, 0.125, out),
        (2, 0.25, out),
        (3, 0.5, good),
    ]
    assert {record.usage.outcome for record in records if record.step_id != "s"} == {good}
    assert tries[-1].outputs[0].uri.endswith("s/3/result.jsonl")
    again = [str(event) for event in events if event.kind is RunEventKind.AGAIN]
    assert ["with 0.25 GB" in again[0], "with 0.5 GB" in again[1]] == [True, True]
    started = [event.grant.slots for event in events if event.step.id == "s" and event.kind is RunEventKind.STARTED]
    assert started == [25, 25, 25], "half a gigabyte is a quarter of the bin"


def test_a_step_that_fills_its_bin_fails_and_says_which_is_larger(tmp_path: Path, tools: list[Tool]) -> None:
    file = tmp_path / "worker_classes.json"
    file.write_text(
        json.dumps(
            [
                {
                    "name": name,
                    "capacity": {"cpu_cores": 1, "cpu_mem_gb": memory_gb},
                    "bins": [{"name": f"{name}_1", "queue": f"tomas_{name}_1", "pool": f"tomas_{name}_1"}],
                }
                for name, memory_gb in (("small", 0.25), ("large", 6))
            ]
        ),
        encoding="utf-8",
    )
    settings = Settings(data=DataSettings(worker_classes_path=file))
    most = Resources(cpu_mem_gb=0.2)
    grows = step("s", "grow", {}, need=most, pool_slots=80, arguments={"mb": 3000})
    events: list[RunEvent] = []
    made = plan([grows], tools=tools)
    records = run_plan(
        made, Registry([]), artifacts_dir=tmp_path / "out", on_event=events.append, settings=settings
    )
    assert [record.requested.cpu_mem_gb for record in records] == [0.2, 0.25]
    assert "bin large_1 has 6 GB" in (records[-1].error or "")
    assert events[-1].kind is RunEventKind.FAILED
    assert [event.grant.slots for event in events if event.kind is RunEventKind.STARTED] == [80, 100]


def test_a_long_step_flushes_its_record_while_it_runs(
    tmp_path: Path, tools: list[Tool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomas.runtime.step.FLUSH_S", 0.1)
    store = StoreOnPaper()
    run_plan(
        plan([step("s", "note", {}, arguments={"seconds": 0.6})], tools=tools),
        Registry([]),
        store,  # type: ignore[arg-type]
        artifacts_dir=tmp_path,
    )
    running = [record for record in store.saved if record.usage.outcome is Outcome.RUNNING]
    assert len(running) >= 3
    assert running[-1].usage.wall_ms > 0
    assert running[-1].usage.peak_mem_gb > 0
    assert store.saved[-1].usage.outcome is Outcome.SUCCESS
    assert store.statuses == ["running", "succeeded"]


def test_run_step_raises_and_still_keeps_the_record(tmp_path: Path, tools: list[Tool]) -> None:
    store = StoreOnPaper()
    bad = step("bad", "break_down", {})
    with pytest.raises(ToolError, match="no luck"):
        run_step(
            store,  # type: ignore[arg-type]
            plan([bad]),
            bad,
            tool=tools[1],
            artifacts_dir=tmp_path,
            try_number=2,
            outputs_of=lambda _: [],
            dag_id="d",
            run_id="r",
            task_id="t",
            map_index=3,
        )
    last = store.saved[-1]
    assert (last.try_number, last.dag_id, last.map_index, last.usage.outcome) == (2, "d", 3, Outcome.FAILED)
    assert last.ended_at is not None
    assert last.usage.peak_mem_gb > 0


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"files": ["request:none"]}, "the request has no input 'none'"),
        ({"files": ["s0.result"]}, "step s0 left no output result"),
    ],
)
def test_a_missing_input_is_named(tmp_path: Path, tools: list[Tool], inputs: dict[str, Any], expected: str) -> None:
    one = step("s1", "note", inputs)
    with pytest.raises(UnboundInput, match=expected):
        run_step(
            None, plan([one]), one, tool=tools[0], artifacts_dir=tmp_path, try_number=1, outputs_of=lambda _: []
        )


def test_impossible_plans_are_refused_before_anything_starts(tmp_path: Path, tools: list[Tool]) -> None:
    def refuse(steps: list[PlanStep], expected: str) -> None:
        with pytest.raises(PlanRejected, match=expected):
            run_plan(plan(steps, tools=tools), Registry([]), artifacts_dir=tmp_path)

    refuse([step("a", "note", {"files": ["b.result"]}), step("b", "note", {"files": ["a.result"]})], "cycle")
    refuse([step("a", "note", {"files": ["z.result"]})], "depends on z")
    refuse([step("a", "note", {}, pool_slots=101)], "101 of 100 pool slots")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_no_process_and_frees_reservations(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"""
import json, sys
sys.path[:0] = [{str(HERE)!r}]
from pathlib import Path
import test_local as t
from tomas.runtime.local import run_plan
from tomas.tools.registry import Registry
store = t.StoreOnPaper()
steps = [t.step("s", "sleep_long", {{}}, arguments=dict(note={str(note)!r}))]
try:
    made = t.plan(steps, tools=[t.helper("sleep_long")])
    run_plan(made, Registry([]), store, artifacts_dir=Path({str(tmp_path)!r}))
except KeyboardInterrupt:
    last = store.saved[-1]
    print(json.dumps([store.all_released, store.statuses, last.usage.outcome, len(store.released)]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not note.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(note.read_text(encoding="utf-8"))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert json.loads(output) == [1, ["running", "failed"], "killed", 1]
    assert not psutil.pid_exists(child)


def test_threads_do_not_outlive_a_run(tmp_path: Path, tools: list[Tool]) -> None:
    before = threading.active_count()
    run_plan(plan([step("s", "note", {})], tools=tools), Registry([]), artifacts_dir=tmp_path)
    assert threading.active_count() == before
