"""Latency prediction: how long the model itself will take for a request, known before it runs.

Together with what was spent before, this is the least T_inf; the planner's call log says what is usual. The
forecast that the temporal encoder reads starts when the plan lands, so that no curve is shifted afterwards.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import torch
from torch import Tensor, nn

from tomas.model.config import LatencyConfig

__all__ = ["LatencyPrediction"]

_RULE_MS = (15.0, 0.12, 0.3, 6.0)
"""Of one call, per token, per candidate, per step: a two-core machine with ``tiny``."""
_REMEMBERED = 256
_LEAST = 8
"""Calls that must have been measured before ``learned`` is fitted to them, and between two fits."""


class LatencyPrediction(nn.Module):
    """Time of one draft in ms, from what is known before it: tokens of the task, candidates, steps expected.

    ``fixed`` is a constant, ``rule`` a sum of costs, ``learned`` a log-linear regression over the calls that this
    process has measured; before there are enough it is the constant, or what the checkpoint holds.
    """

    weights: Tensor

    def __init__(self, config: LatencyConfig) -> None:
        super().__init__()
        self.mode = config.mode
        self.fixed_ms = config.fixed_ms
        self._calls: deque[tuple[int, int, int, float]] = deque(maxlen=_REMEMBERED)
        self._seen = 0
        self.register_buffer("weights", torch.tensor([math.log(config.fixed_ms), 0.0, 0.0, 0.0]))

    def predict_ms(self, tokens: int, candidates: int, steps: int = 4) -> float:
        """Time of a draft.

        :param tokens: of the task.
        """
        if self.mode == "fixed":
            return self.fixed_ms
        counts = (1.0, float(tokens), float(candidates), float(steps))
        if self.mode == "rule":
            return sum(cost * count for cost, count in zip(_RULE_MS, counts, strict=True))
        features = _features(tokens, candidates, steps)
        return math.exp(sum(w * f for w, f in zip(self.weights.tolist(), features, strict=True)))

    def observe(self, tokens: int, candidates: int, steps: int, took_ms: float) -> None:
        """Take note of a draft that was measured; ``learned`` is fitted anew now and then."""
        if self.mode != "learned" or took_ms <= 0:
            return
        self._calls.append((tokens, candidates, steps, took_ms))
        self._seen += 1
        if self._seen % _LEAST == 0:
            self.fit(list(self._calls))

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
