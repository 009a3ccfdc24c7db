"""A declared result: every step of the shipped planner's plan leads to it, whatever order the model chose."""

from __future__ import annotations

import pytest

from tomas.config import NeuralSettings, shared_file
from tomas.neural.checkpoints import SHIPPED
from tomas.neural.planner import NeuralPlanner
from tomas.schema import PlanRequest
from tomas.tools.registry import Registry

INPUTS = {
    "images": {"type": "image/*", "uris": ["a.png"]},
    "documents": {"type": "text/plain", "uris": ["a.txt"]},
}
ALL = (
    "Resize the images to 640 pixels, then classify them and detect the objects in them; extract the keywords of "
    "the documents, judge their sentiment and summarise them; join all results into one HTML report."
)
TASKS = (ALL, "Write a report about the objects in the images and the keywords of the documents.")


@pytest.fixture(scope="module")
def shipped() -> NeuralPlanner:
    return NeuralPlanner(NeuralSettings(checkpoint=shared_file(SHIPPED)))


@pytest.mark.parametrize("task", TASKS)
def test_every_step_leads_to_the_declared_result(task: str, shipped: NeuralPlanner, registry: Registry) -> None:
    request = PlanRequest(task=task, inputs=INPUTS, outputs={"report": "text/html"}, allow_unavailable=True)
    draft = shipped.draft(request, registry)
    assert len(draft.steps) > 1
    assert draft.steps[-1].tool == "report_generation"
    useful = {draft.steps[-1].id}
    for step in reversed(draft.steps):
        if step.id in useful:
            useful |= set(step.depends_on)
    assert useful == {step.id for step in draft.steps}
