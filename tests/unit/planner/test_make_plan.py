"""The pipeline without a store: plans on files, limits, fallback planners, explanations."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from tomas.config import PlannerSettings, RuntimeSettings, Settings
from tomas.errors import (
    ConfigError,
    FitsNoBin,
    Infeasible,
    NoToolMatches,
    PlanError,
    UnboundInput,
    UnknownToolError,
)
from tomas.planner import drafting
from tomas.planner.base import Draft, DraftStep
from tomas.planner.drafting import Breaker
from tomas.planner.narrative import narrate
from tomas.planner.service import make_plan
from tomas.schema import (
    Bin,
    Budget,
    Plan,
    PlanOrigin,
    PlanRequest,
    ProfileRow,
    RequestBinding,
    RequestInput,
    Resources,
    StepBinding,
    WorkerClass,
)
from tomas.tools.registry import Registry
from tomas.verify import verify_plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IMAGES = {"images": RequestInput(type="image/*", uris=["s3://in/a.png"], bytes=2_000_000)}
TASK = "Classify the images, detect faces, find duplicates, and combine all in a report"


def worker(name: str, cores: float, gb: float) -> WorkerClass:
    capacity = Resources(cpu_cores=cores, cpu_mem_gb=gb)
    place = Bin(name=f"{name}_1", worker_class=name, queue=f"q_{name}", pool=f"p_{name}", capacity=capacity)
    return WorkerClass(name=name, capacity=capacity, bins=[place])


CLASSES = [worker("small", 1, 2), worker("large", 4, 8)]


@pytest.fixture(scope="module")
def profiles(registry: Registry) -> list[ProfileRow]:
    """A history in which every tool takes 2 s and 0.3 GB on one core."""
    return [
        ProfileRow(
            tool=tool.name, input_size="small", input_bytes=size, cpu_core=cores, cpu_mem_gb=2,
            latency_ms=2000 / cores**0.5, peak_mem_gb=0.3, output_bytes=1000, source="measured", measured_at=NOW,
        )
        for tool in registry for size in (10_000, 1_000_000) for cores in (1, 2, 4)
    ]  # fmt: skip


@pytest.fixture
def plan(registry: Registry, profiles: list[ProfileRow]) -> Any:
    def run(task: str = TASK, *, settings: Settings | None = None, classes: Any = None, **fields: Any) -> Plan:
        fields.setdefault("inputs", IMAGES)
        history = fields.pop("profiles", profiles)
        return make_plan(
            PlanRequest(task=task, **fields), store=None, registry=registry, settings=settings or Settings(),
            profiles=history, worker_classes=CLASSES if classes is None else classes, now=NOW,
        )  # fmt: skip

    return run


def test_a_plan_is_sized_placed_and_proven(plan: Any, registry: Registry) -> None:
    made = plan()
    assert [step.tool for step in made.steps][-1] == "report_generation"
    assert [step.start_ms for step in made.steps[:3]] == [0, 0, 0]
    verify_plan(
        made, {tool.name: tool for tool in registry}, [place for item in CLASSES for place in item.bins], []
    )
    assert (made.release_at - made.created_at).total_seconds() == pytest.approx(3.5)
    assert made.planner.kind == "retrieval"
    assert set(made.snapshots) >= {"registry", "profiles", "bins", "samples"}
    assert made.t_inf_actual_ms > 0
    assert made.warnings == []


def test_the_same_request_gives_the_same_plan(plan: Any) -> None:
    def core(made: Plan) -> dict[str, Any]:
        return made.model_dump(exclude={"id", "t_inf_actual_ms"})

    assert core(plan()) == core(plan())


@pytest.mark.parametrize("task", ["对一批图片进行分类", "翻译一篇英文文档"])
def test_the_founding_tasks_plan_without_inputs(task: str) -> None:
    made = make_plan(
        PlanRequest(task=task, allow_unavailable=True), store=None, registry=Registry.load(), settings=Settings()
    )
    assert len(made.steps) == 1
    assert any("is not given yet" in warning for warning in made.warnings)
    assert any("Not released" in warning for warning in made.warnings)
    assert "规划器" in made.explanation


def test_a_plan_that_is_to_be_run_needs_its_inputs(plan: Any) -> None:
    origin = PlanOrigin(dag_id="d", run_id="r", task_id="t")
    with pytest.raises(UnboundInput, match="input images is not given, and this plan is to be run"):
        plan("Classify the images", inputs={}, origin=origin)


def test_the_explanation_names_tools_bins_and_times(plan: Any) -> None:
    made = plan()
    for step in made.steps:
        assert f"{step.id}: {step.tool} on {step.bin}" in made.explanation
    assert "6 runs of it" in made.explanation


def test_sizes_propagate_along_the_graph(plan: Any) -> None:
    report = plan().steps[-1]
    assert report.predicted_input_bytes == pytest.approx(2_000_000 + 3 * 1000, rel=0.01)


def test_an_unknown_size_is_assumed_and_said(plan: Any) -> None:
    made = plan("Detect faces", inputs={"images": RequestInput(type="image/*", uris=["s3://in/a.png"])})
    assert "The size of the input images is not known; a small one is assumed." in made.warnings


def test_a_tool_without_history_is_mentioned(plan: Any) -> None:
    made = plan("Detect faces", profiles=[])
    assert any("has no runs yet" in warning for warning in made.warnings)


def test_naive_mode_plans_on_the_fixed_curves(plan: Any) -> None:
    made = plan(settings=Settings(runtime=RuntimeSettings(naive_mode={"enabled": True})))
    assert {curve.source for curve in made.forecast} == {"naive"}


def test_no_bin_is_large_enough(plan: Any) -> None:
    with pytest.raises(FitsNoBin, match=r"Step s1 \(object_detection\).*needs about 0\.[345]\d* GB.*tiny_1: 1 cpu"):
        plan("Detect faces", classes=[worker("tiny", 1, 0.25)])


def test_no_bins_at_all(plan: Any) -> None:
    with pytest.raises(ConfigError, match="No worker bins are known"):
        plan(classes=[])


@pytest.mark.parametrize(("deadline", "says"), [(1.0, "over before the first step"), (4.0, "cannot end within")])
def test_a_deadline_that_cannot_be_met(plan: Any, deadline: float, says: str) -> None:
    with pytest.raises(Infeasible, match=says):
        plan(deadline_s=deadline)


def test_a_deadline_that_can_be_met(plan: Any) -> None:
    made = plan(deadline_s=60)
    assert made.makespan_ms < 60_000


def test_a_deadline_counts_from_the_request_and_the_refusal_says_so(plan: Any) -> None:
    with pytest.raises(Infeasible, match=r"Counted from the first step's release, 3\.5 s after the request"):
        plan(deadline_s=4.0)


def test_a_plan_says_how_near_the_optimum_it_is_and_what_it_costs(plan: Any) -> None:
    made = plan()
    scheduling = made.scheduling
    assert scheduling.gap_pct == 0
    assert scheduling.bound_ms == pytest.approx(made.makespan_ms)
    prices = Settings().planner.prices
    hours = [(step.allocation.final, step.latency_p90_ms / 3.6e6) for step in made.steps]
    assert scheduling.cost == pytest.approx(
        sum((n.cpu_cores * prices.cpu_core_hour + n.cpu_mem_gb * prices.mem_gb_hour) * h for n, h in hours),
        rel=1e-3,
    )
    assert "that is proven" in made.explanation


def test_a_budget_is_kept_to_or_the_least_that_would_do_is_named(plan: Any) -> None:
    free = plan()

    def used(made: Plan) -> float:
        return sum(step.allocation.final.cpu_cores * step.latency_p90_ms / 3.6e6 for step in made.steps)

    assert used(plan(budget=Budget(cpu_core_hours=used(free) * 1.0001))) <= used(free) * 1.0001
    with pytest.raises(Infeasible, match=r"needs at least [0-9.e-]+ cpu_core_hours, but its budget is"):
        plan(budget=Budget(cpu_core_hours=used(free) * 0.5))


def test_without_time_to_improve_the_list_schedule_is_kept(plan: Any) -> None:
    settings = Settings()
    planner = settings.planner.model_copy(update={"schedule_limit_s": 0.0})
    made = plan(settings=settings.model_copy(update={"planner": planner}))
    assert made.scheduling.method == "list"


def test_more_steps_than_allowed(plan: Any) -> None:
    with pytest.raises(PlanError, match="would have 4 steps; at most 3 are allowed"):
        plan(settings=Settings(planner=PlannerSettings(max_steps=3)))


class Failing:
    kind: ClassVar[str] = "failing"
    version: ClassVar[str] = "9"

    def draft(self, request: PlanRequest, registry: Registry) -> Draft:
        raise RuntimeError("weights are gone")


class Drafting:
    """A planner that drafts what it is told."""

    kind: ClassVar[str] = "told"
    version: ClassVar[str] = "2"

    def __init__(self, steps: list[DraftStep]) -> None:
        self.steps = steps

    def draft(self, request: PlanRequest, registry: Registry) -> Draft:
        return Draft(request, "en", self.steps, {}, tell=lambda: "As\0 told. ")


@pytest.fixture
def other_planner(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a planner under the name ``other`` for one test."""
    monkeypatch.setattr(drafting, "_breakers", {})

    def install(planner: Any) -> Settings:
        monkeypatch.setattr(drafting, "_planners", {("other", None): planner})
        return Settings(planner=PlannerSettings(kind="other"))

    return install


def test_a_failing_planner_falls_back_and_the_plan_says_so(plan: Any, other_planner: Any) -> None:
    settings = other_planner(Failing())
    for _ in range(3):
        made = plan(settings=settings)
        assert made.planner.kind == "retrieval"
        assert made.planner.fallback_from == "other"
        assert "RuntimeError: weights are gone" in (made.planner.fallback_reason or "")
    made = plan(settings=settings)
    assert "failed 3 times in a row" in (made.planner.fallback_reason or "")
    assert "stands in for the other planner: it failed 3 times in a row" in made.explanation


def test_where_the_fallback_finds_nothing_its_error_counts(plan: Any, other_planner: Any) -> None:
    with pytest.raises(NoToolMatches):
        plan("Tell me a joke", settings=other_planner(Failing()))


def test_another_planner_drafts(plan: Any, other_planner: Any) -> None:
    step = DraftStep("a", "image_classification", {}, {"images": [RequestBinding(name="images")]}, [], 0.7)
    made = plan(settings=other_planner(Drafting([step])))
    assert (made.planner.kind, made.planner.version, made.planner.fallback_from) == ("told", "2", None)
    assert "drafted by the told planner (2)" in made.explanation
    assert made.narrative == ""
    told = narrate(made)
    assert told == made.model_copy(update={"narrative": "As told."})
    assert narrate(made) == made, "the words are written once"


def test_a_cyclic_draft_is_refused(plan: Any, other_planner: Any) -> None:
    def step(name: str, before: str) -> DraftStep:
        return DraftStep(
            name, "image_preprocessing", {}, {"images": [StepBinding(step=before, output="images")]}, [before], 0.5
        )

    with pytest.raises(PlanError, match="a, b depend on each other in a cycle"):
        plan(settings=other_planner(Drafting([step("a", "b"), step("b", "a")])))


def test_a_draft_with_an_unknown_tool_is_refused(plan: Any, other_planner: Any) -> None:
    step = DraftStep("a", "ghost", {}, {"images": [RequestBinding(name="images")]}, [], 0.7)
    with pytest.raises(UnknownToolError, match="ghost"):
        plan(settings=other_planner(Drafting([step])))


def test_a_planner_that_is_not_installed(plan: Any) -> None:
    with pytest.raises(ConfigError, match=r"no planner called 'ghost'; installed: .*retrieval"):
        plan(settings=Settings(planner=PlannerSettings(kind="ghost")))


def test_the_breaker_opens_after_failures_in_a_row_and_tries_again() -> None:
    breaker = Breaker(failures_allowed=2, open_s=60)
    breaker.record(ok=False, now=0)
    breaker.record(ok=True, now=1)
    breaker.record(ok=False, now=2)
    assert breaker.closed(3)
    breaker.record(ok=False, now=4)
    assert not breaker.closed(5)
    assert breaker.closed(65)
    breaker.record(ok=False, now=66)
    assert not breaker.closed(67)
    breaker.record(ok=True, now=130)
    assert breaker.closed(131)
