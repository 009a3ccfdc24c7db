"""How well a sizer foretold steps, and whether another foretold them better than chance explains."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from tomas.schema import ExecutionRecord
from tomas.sizing import Ladder, LearnedSizer
from tomas.sizing.run import Run, runs_of_records

__all__ = ["StepScore", "better_by_chance", "pinball", "score", "scored_steps", "summary"]

_LEVELS = (0.5, 0.9)
_BLOCKS = 400
_FLIPS = 4096


@dataclass(frozen=True)
class StepScore:
    """One step beside what a sizer would have foretold for it.

    :ivar loss: what memory and time were foretold wrongly, in parts of what the tool's steps need and take.
    :ivar given_gb: memory of the first try.
    :ivar peak_gb: that it needed; of a step that broke and never ended, the limit at which it broke.
    :ivar pinball_ms: mean quantile loss of the median and the 90 % quantile of run time; None where it never ended.
    """

    loss: float
    given_gb: float
    peak_gb: float
    ended: bool
    pinball_ms: float | None
    within_p90: bool

    @property
    def short(self) -> bool:
        """The first try would have broken."""
        return self.given_gb < self.peak_gb or (not self.ended and self.given_gb <= self.peak_gb)


def pinball(actual: float, predicted: float, quantile: float) -> float:
    """The quantile loss (Koenker and Bassett 1978): its mean is least where ``predicted`` is the quantile."""
    error = actual - predicted
    return max(quantile * error, (quantile - 1.0) * error)


def scored_steps(records: Sequence[ExecutionRecord], tools: Collection[str], *, most: int) -> list[tuple[str, Run]]:
    """Tool and need of each step that tells something, in the order of their ends; retries are one step.

    :param tools: others are left out.
    :param most: of more steps, every second or third (and so on) is taken.
    """
    steps = [(record.tool, run) for record, run in runs_of_records(records) if record.tool in tools]
    return steps[:: max(1, -(-len(steps) // most))]


def score(sizer: LearnedSizer, steps: Sequence[tuple[str, Run]]) -> list[StepScore | None]:
    """Compare what the sizer foretells with what the steps needed.

    Memory costs what the ladder loses from its first try on; of a step that broke at a limit and never ended that
    is known only where the sizer would have given no more, so else the step is None. Losses are divided by the
    mean peak and mean run time of the tool's steps, so that all tools count alike.
    """
    ladder = Ladder()
    scales = _scales(steps)
    result: list[StepScore | None] = []
    for tool, run in steps:
        given = sizer.choice(tool, run.input_bytes, gpu=run.gpu_sm > 0).gb
        peak_scale, time_scale = scales[tool]
        if run.latency_ms is None:
            broken = StepScore(given / peak_scale, given, run.peak_gb, False, None, False)
            result.append(broken if given <= run.peak_gb else None)
            continue
        times = sizer.times_ms(tool, run.input_bytes, [run.cores], gpu_sm=run.gpu_sm)[0]
        off = fmean(pinball(run.latency_ms, float(at), level) for at, level in zip(times, _LEVELS, strict=True))
        loss = ladder.cost(given, run.peak_gb) / peak_scale + off / time_scale
        result.append(StepScore(loss, given, run.peak_gb, True, off, bool(run.latency_ms <= times[1])))
    return result


def summary(scores: Sequence[StepScore | None], name: str) -> dict[str, float]:
    """Metrics of a sizer; empty where no step tells anything.

    ``NAME_loss``: mean loss. ``NAME_memory_short``: share of steps whose first try would have broken.
    ``NAME_memory_waste``: mean unused share of the memory of the others. ``NAME_latency_pinball_ms``: mean quantile
    loss of median and 90 % quantile. ``NAME_latency_within_p90``: share of steps within the 90 % quantile.
    """
    found = [item for item in scores if item is not None]
    if not found:
        return {}
    result = {
        f"{name}_loss": fmean(item.loss for item in found),
        f"{name}_memory_short": fmean(item.short for item in found),
    }
    enough = [1.0 - item.peak_gb / item.given_gb for item in found if not item.short]
    if enough:
        result[f"{name}_memory_waste"] = fmean(enough)
    timed = [item for item in found if item.pinball_ms is not None]
    if timed:
        result[f"{name}_latency_pinball_ms"] = fmean(item.pinball_ms or 0.0 for item in timed)
        result[f"{name}_latency_within_p90"] = fmean(item.within_p90 for item in timed)
    return result


def better_by_chance(champion: Sequence[StepScore | None], challenger: Sequence[StepScore | None]) -> float:
    """The probability that a challenger no better than the champion shows so much less loss on the same steps.

    A paired randomisation test (Fisher 1935): were both alike, each difference could as well have the other sign.
    Neighbours in time are not independent, so of many steps the means of up to 400 blocks are compared. Seeded.

    :return: 1 where nothing can be compared; never below ``2 ** -blocks``.
    """
    both = zip(champion, challenger, strict=True)
    differences = np.array([old.loss - new.loss for old, new in both if old is not None and new is not None])
    if not len(differences) or not differences.any():
        return 1.0
    blocks = np.array([part.mean() for part in np.array_split(differences, min(_BLOCKS, len(differences)))])
    if len(blocks) <= np.log2(_FLIPS):
        signs = 1.0 - 2.0 * ((np.arange(2 ** len(blocks))[:, None] >> np.arange(len(blocks))) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(_FLIPS, len(blocks)))
        signs[0] = 1.0
    return float((signs @ blocks >= blocks.sum() - 1e-12).mean())


def _scales(steps: Sequence[tuple[str, Run]]) -> dict[str, tuple[float, float]]:
    """Mean peak in GB and mean run time in ms of each tool's steps."""
    result = {}
    for name in {tool for tool, _ in steps}:
        own = [run for tool, run in steps if tool == name]
        times = [run.latency_ms for run in own if run.latency_ms is not None]
        result[name] = fmean(run.peak_gb for run in own), fmean(times) if times else 1.0
    return result
