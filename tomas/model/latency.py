"""Latency prediction: T_inf of the planner itself, and the timeline as it will be when the plan lands."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from tomas.model.config import LatencyConfig
from tomas.model.example import FloatArray

__all__ = ["LatencyPrediction", "timeline_snapshot"]

_RULE_MS = (15.0, 0.12, 0.3, 6.0)
"""Of one call, per token, per candidate, per step: a two-core machine with ``tiny``."""


class LatencyPrediction(nn.Module):
    """T_inf in ms from what is known before the call: tokens of the task, candidates, steps expected.

    ``fixed`` is a constant, ``rule`` a sum of costs, ``learned`` a log-linear regression over measured calls.
    """

    weights: Tensor

    def __init__(self, config: LatencyConfig) -> None:
        super().__init__()
        self.mode = config.mode
        self.fixed_ms = config.fixed_ms
        self.register_buffer("weights", torch.tensor([math.log(config.fixed_ms), 0.0, 0.0, 0.0]))

    def predict_ms(self, tokens: int, candidates: int, steps: int = 4) -> float:
        """T_inf of a call.

        :param tokens: of the task.
        """
        if self.mode == "fixed":
            return self.fixed_ms
        counts = (1.0, float(tokens), float(candidates), float(steps))
        if self.mode == "rule":
            return sum(cost * count for cost, count in zip(_RULE_MS, counts, strict=True))
        return float(math.exp(float(self.weights @ torch.tensor(_features(tokens, candidates, steps)))))

    def fit(self, calls: list[tuple[int, int, int, float]]) -> None:
        """Fit ``learned`` to measured calls (tokens, candidates, steps, ms) by ridge regression of ln(ms).

        :raises ValueError: there are none, or one took no time.
        """
        if not calls or any(ms <= 0 for *_, ms in calls):
            raise ValueError("calls with a time above 0 are needed")
        rows = np.array([_features(*call[:3]) for call in calls])
        logs = np.log([call[3] for call in calls])
        level = float(logs.mean())
        penalty = np.diag([1e-6, 0.1, 0.1, 0.1])
        solved = np.linalg.solve(rows.T @ rows + penalty, rows.T @ (logs - level))
        solved[0] += level
        self.weights.copy_(torch.from_numpy(solved))


def _features(tokens: int, candidates: int, steps: int) -> list[float]:
    return [1.0, math.log1p(tokens) - 3.0, math.log1p(candidates) - 3.0, math.log1p(steps) - 1.5]


def timeline_snapshot(curves: FloatArray, step_ms: float, after_ms: float) -> FloatArray:
    """The curves from ``after_ms`` on: what was forecast from now becomes what holds when the plan lands.

    :param curves: (..., cells) of ``step_ms`` each; the last value holds on.
    :return: the same shape.
    """
    cells = curves.shape[-1]
    index = np.minimum(np.arange(cells) + int(after_ms // step_ms), cells - 1)
    return curves[..., index]
