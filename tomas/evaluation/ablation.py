"""What each panel is worth: the same weights and cases, one thing at a time taken from what the model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from tomas.evaluation.allocations import Proposed, makespan_table, mode_metrics
from tomas.evaluation.answers import answer, proposals, with_panels
from tomas.evaluation.cases import Case
from tomas.evaluation.plans import Metrics, Pair, plan_metrics
from tomas.model.checkpoint import Checkpoint
from tomas.model.example import PlanningInput

__all__ = ["VARIANTS", "Variant", "ablation"]


def _same(given: PlanningInput, rng: Random) -> PlanningInput:  # noqa: ARG001
    return given


def _shuffled(given: PlanningInput, rng: Random) -> PlanningInput:
    """Cells in another order, and classes under one another's curves."""
    cells, classes = list(range(given.curves.shape[2])), list(range(len(given.classes)))
    rng.shuffle(cells)
    rng.shuffle(classes)
    return replace(given, curves=np.ascontiguousarray(given.curves[classes][:, :, cells]))


def _flat(given: PlanningInput, rng: Random) -> PlanningInput:  # noqa: ARG001
    """All capacity free all the time."""
    curves = np.ones_like(given.curves)
    curves[given.capacity <= 0] = 0.0
    return replace(given, curves=curves)


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    :ivar off: fields of ``model.panels`` that are switched off.
    :ivar change: what else is done to the request.
    """

    name: str
    off: tuple[str, ...] = ()
    change: Callable[[PlanningInput, Random], PlanningInput] = _same


VARIANTS = (
    Variant("full"),
    Variant("blanked profiles", ("profiles",)),
    Variant("shuffled curves", change=_shuffled),
    Variant("flat curves", change=_flat),
    Variant("no timeline encoder", ("timeline",)),
    Variant("no set attention", ("set_attention",)),
    Variant("no retrieval score", ("retrieval",)),
    Variant("no token matching", ("matching",)),
    Variant("neither retrieval nor matching", ("retrieval", "matching")),
    Variant("no feedback", ("feedback",)),
)


def ablation(
    checkpoint: Checkpoint,
    cases: Sequence[Case],
    written: Sequence[Case],
    *,
    variants: Sequence[Variant] = VARIANTS,
    report: Callable[[str, int], None] | None = None,
) -> dict[str, Metrics]:
    """Figures of raw drafts and proposals, before floor and scheduler, for every variant on the same cases.

    Plans come from the planner's own decoding. Modes and makespans are of the right tools and edges, so that all
    rows are over the same plans, and as the head says them: ``mode_accuracy`` as in
    :func:`~tomas.evaluation.allocations.mode_metrics`, ``makespan`` the geometric mean over the least makespan,
    ``infeasible`` the share of plans without a schedule in these modes.
    ``written_node_f1`` is of the hand-written requests.
    """
    return {variant.name: _row(checkpoint, cases, written, variant, report) for variant in variants}


def _row(
    checkpoint: Checkpoint,
    cases: Sequence[Case],
    written: Sequence[Case],
    variant: Variant,
    report: Callable[[str, int], None] | None,
) -> Metrics:
    panels = checkpoint.config.model.panels
    if variant.off:
        panels = panels.model_copy(update=dict.fromkeys(variant.off, False))
        checkpoint = with_panels(checkpoint, panels)
    pairs: list[Pair] = []
    of_written: list[Pair] = []
    proposed: list[Proposed] = []
    for number, case in enumerate([*cases, *written], start=1):
        given = variant.change(case.given, Random(case.id))  # noqa: S311  (no secret)
        into = pairs if number <= len(cases) else of_written
        into.append((case, answer(checkpoint, given)))
        if case.allocation is not None:
            proposed.append(Proposed(case.allocation, proposals(checkpoint, case, given=given)))
        if report is not None:
            report(variant.name, number)
    plans, modes = plan_metrics(pairs), mode_metrics(proposed)
    times = makespan_table(proposed)["model"]
    return {
        **{name: plans[name] for name in ("node_f1", "edge_f1", "exact_plan")},
        "mode_accuracy": modes["mode_accuracy"],
        "makespan": times["geometric"],
        "infeasible": times["infeasible"],
        "written_node_f1": plan_metrics(of_written)["node_f1"],
    }
