"""Calibration of the confidence: one temperature on the tools' logits, fitted to examples that were not trained on.

After Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tomas.errors import DataError
from tomas.model.batch import collate
from tomas.model.example import PlanningExample
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer

__all__ = ["Calibration", "calibrate", "expected_error"]

_TEMPERATURES = tuple(1.05**power for power in range(-32, 61))
_BATCH = 32
_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """How sure the model is, and how right.

    :ivar temperature: that the logits are divided by.
    :ivar error_before: expected calibration error at temperature 1, over equal bins of confidence; 0 is perfect.
    :ivar error_after: at the fitted temperature.
    :ivar steps: that it rests on.
    """

    temperature: float
    error_before: float
    error_after: float
    steps: int


def calibrate(
    network: PlannerNetwork, tokenizer: TextTokenizer, examples: Sequence[PlanningExample]
) -> Calibration:
    """Fit the network's temperature by the likelihood of the right tools under teacher forcing, and set it.

    :param examples: held out from training; refusals among them say nothing of tools.
    :raises DataError: no example has a step.
    """
    network.eval()
    rows: list[Tensor] = []
    right: list[Tensor] = []
    for begin in range(0, len(examples), _BATCH):
        batch = collate(examples[begin : begin + _BATCH], tokenizer, network.config).to(network.device)
        if not batch.plan.mask.any():
            continue
        with torch.inference_mode():
            logits = network(batch).tools[:, :-1][batch.plan.mask].cpu()
        ready = batch.targets.ready[batch.plan.mask].cpu()
        rows += list(logits)
        right += list(ready)
    if not rows:
        raise DataError("No example for calibration has a step.", remedy="Give plans that were not trained on.")
    best = min(_TEMPERATURES, key=lambda temperature: _loss(rows, right, temperature))
    network.temperature.fill_(best)
    return Calibration(best, _error(rows, right, 1.0), _error(rows, right, best), len(rows))


def expected_error(confidences: Sequence[float], hits: Sequence[bool]) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over ten bins, by their share."""
    if not confidences:
        return 0.0
    sure, hit = torch.tensor(confidences), torch.tensor(hits, dtype=torch.float32)
    bins = (sure * _BINS).long().clamp(max=_BINS - 1)
    error = 0.0
    for number in range(_BINS):
        inside = bins == number
        if inside.any():
            error += float(inside.float().mean() * (sure[inside].mean() - hit[inside].mean()).abs())
    return error


def _loss(rows: Sequence[Tensor], right: Sequence[Tensor], temperature: float) -> float:
    """Mean of −log Σ p(ready)."""
    total = 0.0
    for logits, ready in zip(rows, right, strict=True):
        logs = (logits / temperature).log_softmax(dim=0)
        total -= max(-50.0, float(logs[ready].logsumexp(dim=0)))
    return total / len(rows)


def _error(rows: Sequence[Tensor], right: Sequence[Tensor], temperature: float) -> float:
    """Of the tool that would be chosen; it is right where it is ready."""
    best = [int(logits.argmax()) for logits in rows]
    sure = [float((logits / temperature).softmax(dim=0)[k]) for logits, k in zip(rows, best, strict=True)]
    return expected_error(sure, [bool(ready[k]) for ready, k in zip(right, best, strict=True)])
