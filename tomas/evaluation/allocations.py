"""How good proposed allocations are: modes, amounts, and how long plans take in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, geometric_mean, median

from tomas.evaluation.cases import Allocation
from tomas.evaluation.plans import Metrics
from tomas.evaluation.rules import RULES, list_ratio, picks_of, projected_ratio
from tomas.model.drafted import ModeProposal
from tomas.schema import RESOURCE_NAMES

__all__ = ["Proposed", "makespan_table", "mode_metrics", "ratio_summary"]

_NEAR = 1.10


@dataclass(frozen=True)
class Proposed:
    """A labelled case and what the model proposed for it.

    :ivar modes: per step of the right answer, its graph known; None where the drafted tools are not the right ones.
    :ivar drafted: what it proposed where it had drafted the graph itself; None where that was not asked.
    """

    allocation: Allocation
    modes: Sequence[ModeProposal] | None
    drafted: Sequence[ModeProposal] | None = None

    @property
    def picks(self) -> list[int]:
        """The proposed mode of each step."""
        return [item.mode for item in self.modes or ()]

    @property
    def likeliest(self) -> list[int]:
        """The mode of each step that the allocation head holds likeliest."""
        rows = [item.probabilities for item in self.modes or ()]
        return [max(range(len(row)), key=row.__getitem__) for row in rows]


def mode_metrics(items: Sequence[Proposed]) -> Metrics:
    """The figures of proposals as the model made them.

    ``mode_accuracy``: share of the steps of all labelled plans whose proposed mode stands in a schedule within 1 %
    of the optimum; steps of plans whose tools are not the right ones count as wrong. ``mode_accuracy_right_tools``:
    of the plans with the right tools alone. ``mode_own``: share, of these, that is the exact schedule's own mode.
    ``mode_chance``: what a uniform choice would score there. ``mape``: mean of |proposed − right| ÷ right over all
    amounts of all steps that the right allocation has above zero; right is the scheduler's own mode, its memory
    corrected to what the step's law needs. ``mae_…``: mean error of these amounts by resource, in its unit.
    """
    known = [(item.allocation, item.modes) for item in items if item.modes is not None]
    rows = [(allocation, step, proposal) for allocation, modes in known for step, proposal in enumerate(modes)]
    near = [allocation.weights[step][proposal.mode] > 0 for allocation, step, proposal in rows]
    steps = sum(len(item.allocation.modes) for item in items)
    errors: dict[str, list[float]] = {name: [] for name in RESOURCE_NAMES}
    shares: list[float] = []
    for allocation, step, proposal in rows:
        need = allocation.modes[step].modes[allocation.own(step)].need
        for r, name in enumerate(RESOURCE_NAMES):
            if need[r] > 0:
                right = need[r] * math.exp(allocation.residual[step][r])
                errors[name].append(abs(proposal.amounts[r] - right))
                shares.append(errors[name][-1] / right)
    return {
        "labelled_plans": float(len(items)),
        "with_right_tools": float(len(known)),
        "mode_accuracy": sum(near) / steps if steps else None,
        "mode_accuracy_right_tools": _mean(near),
        "mode_own": _mean(allocation.own(step) == proposal.mode for allocation, step, proposal in rows),
        "mode_chance": _mean(
            sum(weight > 0 for weight in allocation.weights[step]) / len(allocation.weights[step])
            for allocation, step, _ in rows
        ),
        "mape": _mean(shares),
        **{f"mae_{name}": _mean(values) for name, values in errors.items()},
    }


def makespan_table(items: Sequence[Proposed]) -> dict[str, Metrics]:
    """How long plans take in the proposed modes and in those of simple rules, over the least makespan.

    Only plans whose drafted tools are the right ones count; their edges are the right ones. Rows: ``model``;
    ``projected``, which frees all modes of a plan that has no schedule in the proposed ones; ``head alone``, the
    likeliest mode of each step, however the steps would stand; ``own edges``, where the model had drafted the graph
    that it proposed for; and the rules.
    See :func:`ratio_summary` for the columns; ``common_…`` are over the plans that all rows can schedule.
    """
    known = [item for item in items if item.modes is not None]
    ratios = {
        "model": [list_ratio(item.allocation, item.picks) for item in known],
        "projected": [projected_ratio(item.allocation, item.picks) for item in known],
        "own edges": [
            list_ratio(item.allocation, [mode.mode for mode in item.drafted or item.modes or ()]) for item in known
        ],
        "head alone": [list_ratio(item.allocation, item.likeliest) for item in known],
        **{
            rule: [list_ratio(item.allocation, picks_of(rule, item.allocation)) for item in known] for rule in RULES
        },
    }
    every = list(zip(*ratios.values(), strict=True))
    common = [place for place, row in enumerate(every) if all(map(math.isfinite, row))]
    table: dict[str, Metrics] = {}
    for name, values in ratios.items():
        inside = [values[place] for place in common]
        table[name] = {
            **ratio_summary(values),
            "common": float(len(inside)),
            "common_mean": _mean(inside),
            "common_geometric": geometric_mean(inside) if inside else None,
        }
    return table


def ratio_summary(ratios: Sequence[float]) -> Metrics:
    """Of makespan ÷ least makespan: ``plans``, the share ``infeasible`` (infinite), and of the others the
    arithmetic ``mean`` (dominated by long waits for a whole free bin), ``geometric`` mean, ``median``, and the
    share ``within_10pct``.
    """
    found = [ratio for ratio in ratios if math.isfinite(ratio)]
    return {
        "plans": float(len(ratios)),
        "infeasible": 1.0 - len(found) / len(ratios) if ratios else None,
        "mean": _mean(found),
        "geometric": geometric_mean(found) if found else None,
        "median": median(found) if found else None,
        "within_10pct": _mean(ratio <= _NEAR for ratio in found),
    }


def _mean(values: Iterable[float]) -> float | None:
    found = [float(value) for value in values]
    return fmean(found) if found else None
