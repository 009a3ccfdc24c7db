"""Graphs of tools become drafts whose every port is bound, or an error that names the port."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomas.errors import NoToolMatches, UnboundInput
from tomas.planner.skeleton import SkeletonStep, bind_skeleton
from tomas.schema import PlanRequest, RequestBinding, RequestInput, StepBinding, media_type_matches
from tomas.tools.registry import Registry

TOOLS = {tool.name: tool for tool in Registry.load()}


def _request(task: str = "do it", **inputs: str) -> PlanRequest:
    return PlanRequest(
        task=task, inputs={name: RequestInput(type=kind, uris=["/tmp/x"]) for name, kind in inputs.items()}
    )


def test_a_chain_binds_to_its_parents_and_the_request() -> None:
    drafted = bind_skeleton(
        [
            SkeletonStep("audio_extraction"),
            SkeletonStep("speech_recognition", (0,)),
            SkeletonStep("text_summarization", (1,)),
        ],
        _request(film="video/mp4"),
        TOOLS,
    )
    first, second, third = drafted.steps
    assert list(first.inputs.values()) == [[RequestBinding(name="film")]]
    assert [binding.step for binding in next(iter(second.inputs.values()))] == ["s1"]  # type: ignore[union-attr]
    assert third.depends_on == ["s2"]
    results = {(binding.step, binding.output) for binding in drafted.outputs.values()}
    assert results == {("s3", out.name) for out in TOOLS["text_summarization"].outputs}


def test_a_port_without_source_is_named_where_inputs_were_given() -> None:
    with pytest.raises(UnboundInput, match="speech_recognition"):
        bind_skeleton([SkeletonStep("speech_recognition")], _request(pictures="image/png"), TOOLS)


def test_a_request_without_inputs_gets_those_that_are_needed() -> None:
    drafted = bind_skeleton([SkeletonStep("speech_recognition")], _request(), TOOLS)
    assert [item.uris for item in drafted.request.inputs.values()] == [[]]
    assert any("is not given yet" in warning for warning in drafted.warnings)


def test_a_missing_parent_is_mended_by_type() -> None:
    drafted = bind_skeleton(
        [SkeletonStep("audio_extraction"), SkeletonStep("speech_recognition")], _request(film="video/mp4"), TOOLS
    )
    assert drafted.steps[1].depends_on == ["s1"]


def test_arguments_are_checked_and_defaults_filled_in() -> None:
    drafted = bind_skeleton(
        [SkeletonStep("super_resolution", arguments={"scale": 4, "iterations": 5000, "pool": "gold"})],
        _request(pictures="image/png"),
        TOOLS,
    )
    assert drafted.steps[0].arguments == {"scale": 4, "iterations": 5}
    assert len([warning for warning in drafted.warnings if "super_resolution" in warning]) == 2


def test_a_required_argument_is_looked_for_in_the_task() -> None:
    steps = [SkeletonStep("visual_question_answering")]
    drafted = bind_skeleton(steps, _request("Answer “how many cats are there?”", pictures="image/png"), TOOLS)
    assert "cats" in drafted.steps[0].arguments["question"]


def test_a_tool_that_may_not_be_planned_is_refused() -> None:
    with pytest.raises(NoToolMatches, match="super_resolution"):
        bind_skeleton([SkeletonStep("super_resolution")], _request(), {})
    with pytest.raises(NoToolMatches, match="chose no tool"):
        bind_skeleton([], _request(), TOOLS)


def test_a_declared_result_that_nothing_produces_is_refused() -> None:
    request = _request(pictures="image/png").model_copy(update={"outputs": {"sound": "audio/wav"}})
    with pytest.raises(NoToolMatches, match="sound"):
        bind_skeleton([SkeletonStep("super_resolution")], request, TOOLS)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(TOOLS)), st.lists(st.integers(-2, 12), max_size=4)),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_graph_comes_the_draft_is_acyclic_and_typed(graph: list[tuple[str, list[int]]]) -> None:
    steps = [SkeletonStep(name, tuple(parents)) for name, parents in graph]
    request = _request("Answer “what is this?” and title it “x”")
    drafted = bind_skeleton(steps, request, TOOLS)
    seen: dict[str, str] = {}
    for step in drafted.steps:
        assert set(step.depends_on) <= set(seen)
        tool = TOOLS[step.tool]
        assert all(port.name in step.inputs for port in tool.inputs if port.required)
        for name, bindings in step.inputs.items():
            port = tool.input(name)
            assert port is not None
            for binding in bindings:
                if isinstance(binding, StepBinding):
                    assert binding.step in step.depends_on
                    made = TOOLS[seen[binding.step]].output(binding.output)
                    assert made is not None
                    assert media_type_matches(made.type, port.type)
                else:
                    assert media_type_matches(drafted.request.inputs[binding.name].type, port.type)
        seen[step.id] = step.tool
