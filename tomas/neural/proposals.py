"""The modes of drafted steps, for the allocation pass: sizes along the graph, then what the sizer offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tomas.config import PriceSettings
from tomas.model.drafted import DraftedStep
from tomas.model.example import ModeCard, PlanningInput, StepModes
from tomas.neural.reading import Fleet
from tomas.planner.context import Context
from tomas.schema import Resources, Tool
from tomas.sizing import Mode

__all__ = ["step_modes"]

_MS_PER_HOUR = 3_600_000.0


def step_modes(
    steps: Sequence[DraftedStep],
    given: PlanningInput,
    tools: Mapping[str, Tool],
    context: Context,
    fleet: Fleet,
    prices: PriceSettings,
    most: int,
) -> list[StepModes]:
    """The modes of every step; none at all where one of them fits no bin.

    :param most: modes of one step; of more, the fastest of every class and the cheapest remain.
    """
    sizes = _sizes(steps, given, tools, context)
    found: list[StepModes] = []
    for step, size in zip(steps, sizes, strict=True):
        tool = tools[given.candidates[step.tool].name]
        modes = context.sizer.modes(tool, size, fleet.bins)
        cards = {_card(mode, fleet, prices): None for mode in modes}
        if not cards:
            return []
        found.append(StepModes(tuple(_kept(list(cards), most))))
    return found


def _sizes(
    steps: Sequence[DraftedStep], given: PlanningInput, tools: Mapping[str, Tool], context: Context
) -> list[float]:
    """Bytes that each step reads; what later steps read is predicted."""
    sizes: list[float] = []
    shares: list[float] = []
    for step in steps:
        tool = tools[given.candidates[step.tool].name]
        total = 0.0
        for source in (source for port in step.bindings for source in port):
            if source.step >= 0:
                total += shares[source.step]
            else:
                size = given.inputs[source.index][2]
                total += float(tool.input_size.small_max_bytes) if size is None else size
        total = total or float(tool.input_size.small_max_bytes)
        sizes.append(total)
        shares.append(context.sizer.output_bytes(tool, total) / len(tool.outputs))
    return sizes


def _card(mode: Mode, fleet: Fleet, prices: PriceSettings) -> ModeCard:
    place = next(item for item in fleet.bins if item.name == mode.bin)
    need = mode.allocation
    return ModeCard(
        class_index=fleet.index(place.worker_class),
        need=(need.cpu_cores, need.cpu_mem_gb, need.gpu_sm, need.gpu_mem_gb),
        p50_ms=mode.p50_ms,
        p90_ms=mode.p90_ms,
        cost=_cost(need, mode.p90_ms, prices),
    )


def _cost(need: Resources, p90_ms: float, prices: PriceSettings) -> float:
    hours = p90_ms / _MS_PER_HOUR
    return hours * (
        need.cpu_cores * prices.cpu_core_hour
        + need.cpu_mem_gb * prices.mem_gb_hour
        + need.gpu_sm / 100.0 * prices.gpu_hour
    )


def _kept(cards: list[ModeCard], most: int) -> list[ModeCard]:
    if len(cards) <= most:
        return cards
    by_time = sorted(cards, key=lambda card: (card.p90_ms, card.cost))
    by_cost = sorted(cards, key=lambda card: (card.cost, card.p90_ms))
    kept = dict.fromkeys(card for pair in zip(by_time, by_cost, strict=True) for card in pair)
    return list(kept)[:most]
