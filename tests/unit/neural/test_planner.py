"""The neural planner as a planner: drafts over the shipped registry, whole plans, refusals, and its fallback."""

from __future__ import annotations

import importlib.util
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.neural.conftest import IMAGES, KNOWN, TEXTS, settings_of
from tomas.config import NeuralSettings, Settings
from tomas.errors import NoToolMatches, TaskError, ToolUnavailable
from tomas.model.checkpoint import Checkpoint, load_checkpoint
from tomas.neural.cards import argument_value
from tomas.neural.planner import NeuralPlanner
from tomas.planner import drafting
from tomas.planner.base import Draft
from tomas.planner.narrative import narrate
from tomas.planner.service import make_plan
from tomas.schema import Plan, PlanRequest, RequestBinding, StepBinding, Tool
from tomas.tools.registry import Registry


@pytest.fixture(scope="module")
def planner(checkpoint: Path) -> NeuralPlanner:
    return NeuralPlanner(NeuralSettings(checkpoint=checkpoint, free_text=True))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planners and breakers of this test alone."""
    monkeypatch.setattr(drafting, "_planners", {})
    monkeypatch.setattr(drafting, "_breakers", {})


@pytest.mark.parametrize("number", range(5))
def test_known_requests_become_drafts(number: int, planner: NeuralPlanner, registry: Registry) -> None:
    task, inputs, chain = KNOWN[number]
    draft = planner.draft(PlanRequest(task=task, inputs=inputs, allow_unavailable=True), registry)
    tools = {step.id: step.tool for step in draft.steps}
    assert sorted(tools.values()) == sorted(name for name, _, _ in chain)
    for name, parents, arguments in chain:
        step = next(item for item in draft.steps if item.tool == name)
        assert {tools[before] for before in step.depends_on} == {chain[parent][0] for parent in parents}
        assert 0.0 < step.confidence <= 1.0
        for argument, text in arguments:
            assert str(step.arguments[argument]) == text
    assert draft.tell is not None
    assert draft.tell() == f"Plan {number}."
    assert planner.version.startswith("learned@")


def test_what_the_model_bound_is_kept(planner: NeuralPlanner, registry: Registry) -> None:
    draft = planner.draft(PlanRequest(task=KNOWN[1][0], inputs=IMAGES, allow_unavailable=True), registry)
    steps = {step.tool: step for step in draft.steps}
    detected, enlarged, report = (steps[name] for name, _, _ in KNOWN[1][2])
    assert detected.inputs["images"] == enlarged.inputs["images"] == [RequestBinding(name="photos")]
    assert report.inputs["records"] == [StepBinding(step=detected.id, output="objects")]
    assert report.inputs["images"] == [StepBinding(step=enlarged.id, output="images")]
    assert enlarged.arguments["scale"] == 3


def test_inputs_that_are_not_given_are_asked_for(planner: NeuralPlanner, registry: Registry) -> None:
    draft = planner.draft(PlanRequest(task=KNOWN[4][0], allow_unavailable=True), registry)
    assert draft.request.inputs["documents"].uris == []
    assert any("not given yet" in warning for warning in draft.warnings)


def test_people_are_told_which_named_tools_the_model_left_out(planner: NeuralPlanner, registry: Registry) -> None:
    known, warning = KNOWN[0][0], "“进行目标检测” may ask for object_detection, which the model did not plan."
    for task, warnings in ((known, []), (f"{known}，然后进行目标检测", [warning])):
        draft = planner.draft(PlanRequest(task=task, inputs=IMAGES, allow_unavailable=True), registry)
        assert [step.tool for step in draft.steps] == ["image_classification"]
        assert draft.warnings == warnings


def test_a_refusal_is_an_answer(settings: Settings, registry: Registry) -> None:
    """It stands; the retrieval planner is not asked."""
    request = PlanRequest(task=KNOWN[5][0], inputs=TEXTS)
    with pytest.raises(NoToolMatches, match="The model finds no tool") as caught:
        make_plan(request, store=None, registry=registry, settings=settings)
    assert "Nobody books." in caught.value.what
    assert "Nearest are" in caught.value.remedy


def test_only_allowed_tools_are_planned(planner: NeuralPlanner, registry: Registry) -> None:
    request = PlanRequest(
        task=KNOWN[1][0], inputs=IMAGES, allowed_tools=["object_detection"], allow_unavailable=True
    )
    assert [step.tool for step in planner.draft(request, registry).steps] == ["object_detection"]
    with pytest.raises(NoToolMatches, match="No tool may be planned"):
        planner.draft(request.model_copy(update={"allowed_tools": []}), registry)


def test_a_tool_that_cannot_run_here_is_named(planner: NeuralPlanner, registry: Registry) -> None:
    row = registry.get("image_classification").model_dump()
    row["requires"] = [{"kind": "module", "name": "no_such_module", "remedy": "Install it."}]
    tool = Tool.model_validate(row)
    with pytest.raises(ToolUnavailable, match="image_classification"):
        planner.draft(PlanRequest(task=KNOWN[0][0], inputs=IMAGES, tools=[tool]), registry)


@pytest.mark.parametrize("task", ["", "   ", "x" * 9000, "\x00\x01\x02"])
def test_what_is_no_task_is_refused(task: str, planner: NeuralPlanner, registry: Registry) -> None:
    with pytest.raises(TaskError):
        planner.draft(PlanRequest(task=task), registry)


def test_a_whole_plan_with_proposals_is_made_and_proven(settings: Settings, registry: Registry) -> None:
    request = PlanRequest(task=KNOWN[1][0], inputs=IMAGES, allow_unavailable=True)
    plan = make_plan(request, store=None, registry=registry, settings=settings)
    assert (plan.planner.kind, plan.planner.fallback_from) == ("neural", None)
    assert plan.planner.version.startswith("learned@")
    assert f"drafted by the neural planner ({plan.planner.version})" in plan.explanation
    assert (plan.narrative, narrate(plan).narrative) == ("", "Plan 1.")
    for step in plan.steps:
        proposed = step.allocation.proposed
        assert proposed is not None
        assert proposed.cpu_cores > 0
        # The proposal is a mode of the step, corrected by at most one half.
        assert proposed.gpu_sm == 0


def plan_of(registry: Registry, settings: Settings) -> Plan:
    request = PlanRequest(task=KNOWN[0][0], inputs=IMAGES, allow_unavailable=True)
    return make_plan(request, store=None, registry=registry, settings=settings)


def test_altered_weights_fall_back_and_the_plan_says_why_until_they_are_restored(
    checkpoint: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(checkpoint, folder)
    weights = folder / "model.safetensors"
    right = weights.read_bytes()
    data = bytearray(right)
    data[-5] ^= 1
    weights.write_bytes(data)
    read: list[Path] = []

    def counted(folder: Path, **more: object) -> Checkpoint:
        read.append(folder)
        return load_checkpoint(folder, **more)

    monkeypatch.setattr("tomas.neural.checkpoints.load_checkpoint", counted)
    for _ in range(5):  # more often than a planner may fail before it is not asked for a while
        plan = plan_of(registry, settings_of(folder))
        assert (plan.planner.kind, plan.planner.fallback_from) == ("retrieval", "neural")
        assert "was altered" in (plan.planner.fallback_reason or "")
        assert "它代替 neural 规划器" in plan.explanation
        assert "was altered" in plan.explanation
    assert len(read) == 1, "what was wrong with them is not found out again while they stay as they are"
    weights.write_bytes(right)
    plan = plan_of(registry, settings_of(folder))
    assert (plan.planner.kind, plan.planner.fallback_from) == ("neural", None)
    assert plan.planner.version.startswith("altered@")


def test_missing_weights_fall_back_until_they_are_there(
    checkpoint: Path, registry: Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "later"
    for _ in range(4):
        plan = plan_of(registry, settings_of(folder))
        assert plan.planner.fallback_from == "neural"
        assert "cannot be read" in (plan.planner.fallback_reason or "")
    shutil.copytree(checkpoint, folder)
    assert plan_of(registry, settings_of(folder)).planner.kind == "neural"


def test_a_missing_package_falls_back_and_says_how_to_install_it(
    registry: Registry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == "torch" else real(name, *more)
    )
    plan = plan_of(registry, settings)
    assert plan.planner.fallback_from == "neural"
    assert "pip install 'airflow-provider-tomas[model]'" in (plan.planner.fallback_reason or "")


def test_each_settings_have_their_own_planner_and_breaker(
    checkpoint: Path, registry: Registry, tmp_path: Path
) -> None:
    assert plan_of(registry, settings_of(tmp_path)).planner.kind == "retrieval"
    assert plan_of(registry, settings_of(checkpoint)).planner.kind == "neural"
    silent = plan_of(registry, settings_of(checkpoint, explain=False))
    assert narrate(silent).narrative == ""


def test_the_same_request_gives_the_same_draft(planner: NeuralPlanner, registry: Registry) -> None:
    request = PlanRequest(task=KNOWN[2][0], inputs=TEXTS, allow_unavailable=True)
    assert planner.draft(request, registry) == planner.draft(request, registry)


def test_requests_that_are_planned_at_once_do_not_mix(planner: NeuralPlanner, registry: Registry) -> None:
    requests = [PlanRequest(task=task, inputs=inputs, allow_unavailable=True) for task, inputs, _ in KNOWN[:5]]
    alone = [planner.draft(request, registry) for request in requests]

    def drafted(number: int) -> tuple[Draft, str]:
        draft = planner.draft(requests[number], registry)
        assert draft.tell is not None
        return draft, draft.tell()

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(drafted, [0, 1, 2, 3, 4] * 4))
    for number, (draft, words) in enumerate(together):
        assert draft == alone[number % 5]
        assert words == f"Plan {number % 5}."


def test_values_take_the_type_of_their_schema(registry: Registry) -> None:
    assert argument_value(registry.get("super_resolution"), "scale", "3") == 3
    assert argument_value(registry.get("machine_translation"), "target_language", "fr") == "fr"
    assert argument_value(registry.get("object_detection"), "labels", "face") == ["face"]
    assert argument_value(registry.get("super_resolution"), "scale", "many") == "many"
