"""How much precedents count: one factor on what the network learned of them, fitted to whole plans.

Teacher forcing shows the network the right beginning of every plan, so that its losses say little of how a guess at
the whole plan helps. Plans decoded for examples that were not trained on say it.

Such examples still speak the language of those that were trained on, where the network needs precedents least; a
user's task does not. So of factors that cannot be told from the best at 95 %, the largest is taken, after the rule
of one standard error (Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984, section
3.4.3), here of the differences to the best on the same examples.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import torch

from tomas.model.decode import decode
from tomas.model.example import PlanningExample, PlanningInput
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer

__all__ = ["lean_on_precedents", "plans_worth"]

_SURE = 1.96
"""Standard errors beyond which a difference is no chance, at 95 %."""
Worth = Callable[[PlannerNetwork], list[float]]


def lean_on_precedents(network: PlannerNetwork, worth: Worth, factors: Sequence[float]) -> float:
    """Multiply the weights of precedents by the largest factor whose plans are no worse than the best.

    :param worth: of each plan that the network makes for the same examples.
    :return: the factor.
    """
    weights = (network.pointer.precedent, network.gate.precedent)
    learned = [weight.detach().clone() for weight in weights]

    def weigh(factor: float) -> None:
        with torch.no_grad():
            for weight, value in zip(weights, learned, strict=True):
                weight.copy_(value * factor)

    def tried(factor: float) -> list[float]:
        weigh(factor)
        return worth(network)

    found = {factor: tried(factor) for factor in factors}
    best = max(found.values(), key=sum)
    chosen = max(factor for factor, values in found.items() if _no_worse(values, best))
    weigh(chosen)
    return chosen


def _no_worse(values: Sequence[float], best: Sequence[float]) -> bool:
    lost = [other - value for value, other in zip(values, best, strict=True)]
    if len(lost) < 2:
        return sum(lost) <= 0.0
    return statistics.fmean(lost) <= _SURE * statistics.stdev(lost) / math.sqrt(len(lost))


def plans_worth(tokenizer: TextTokenizer, held: Sequence[PlanningExample]) -> Worth:
    """Node F1, and one more if the set of tools is exact, for each example; a refusal where one is due is exact.

    :param held: with their precedents.
    """
    wanted = [{step.tool for step in example.target.steps} for example in held]

    def worth(network: PlannerNetwork) -> list[float]:
        found = (_tools(network, tokenizer, item.given) for item in held)
        return [_f1(tools, right) + (tools == right) for tools, right in zip(found, wanted, strict=True)]

    return worth


def _tools(network: PlannerNetwork, tokenizer: TextTokenizer, given: PlanningInput) -> set[int]:
    return {step.tool for step in decode(network, tokenizer, given).steps}


def _f1(found: set[int], right: set[int]) -> float:
    return 2 * len(found & right) / (len(found) + len(right)) if found or right else 1.0
