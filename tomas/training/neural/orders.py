"""The order in which the network would choose the steps of examples itself, so that its own choice is fed back."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tomas.model.batch import Batch, reordered, topological_order
from tomas.model.example import PlanningExample, PlanningTarget
from tomas.model.network import PlannerNetwork

__all__ = ["has_choice", "in_own_order"]


def has_choice(target: PlanningTarget) -> bool:
    """Whether there is more than one order of the steps: not where each waits for the one right before it."""
    return any(number - 1 not in step.parents for number, step in enumerate(target.steps) if number)


def in_own_order(
    network: PlannerNetwork, batch: Batch, examples: Sequence[PlanningExample]
) -> list[PlanningExample]:
    """The examples with their steps as the network would choose them, were it allowed right ones alone.

    At each position it takes, of the steps whose parents are done, the one whose tool it likes most. What it likes
    is read from one pass over the orders that the batch has: scheduled sampling in two passes (Mihaylova and
    Martins, "Scheduled Sampling for Transformers", 2019), with the oracle's right steps in place of wrong ones. So
    it is said after the steps that the batch has before a position, which need not be those that it would choose.

    :param batch: of these examples, with their steps in any order. The network is in training mode afterwards.
    """
    network.eval()
    with torch.no_grad():
        liked = network(batch).tools.tolist()
    network.train()
    return [_in_order_of(example, rows) for example, rows in zip(examples, liked, strict=True)]


def _in_order_of(example: PlanningExample, liked: Sequence[Sequence[float]]) -> PlanningExample:
    """:param liked: of every candidate at every position."""
    tools = [step.tool for step in example.target.steps]

    def choose(position: int, ready: Sequence[int]) -> int:
        return max(ready, key=lambda step: liked[position][tools[step]])

    return reordered(example, topological_order(example.target, choose))
