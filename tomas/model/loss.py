"""What the network is taught: one mean per segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as nnf
from torch import Tensor

from tomas.model.batch import IGNORE, Batch
from tomas.model.config import LossWeights

if TYPE_CHECKING:
    from tomas.model.network import Outputs

__all__ = ["losses"]


def losses(outputs: Outputs, batch: Batch, weights: LossWeights) -> dict[str, Tensor]:
    """The mean of each segment that the batch holds, and ``total``.

    The tool loss is minus the logarithm of the summed probability of all tools that are ready (a dynamic oracle,
    after Goldberg and Nivre 2012): any topological order is right.
    """
    plan, modes, targets = batch.plan, batch.modes, batch.targets
    found: dict[str, Tensor] = {}
    gate = outputs.gate.flatten(0, 1)
    found["gate"] = nnf.cross_entropy(gate, targets.gate.flatten(), ignore_index=IGNORE)
    if plan.mask.any():
        found["tool"] = _tool_loss(outputs.tools[:, :-1], targets.ready, plan.mask)
    if targets.edges_known.any():
        found["edges"] = nnf.binary_cross_entropy_with_logits(
            outputs.steps.edges[targets.edges_known], targets.edges[targets.edges_known]
        )
    bound = targets.bindings_known & plan.fits
    if bound.any():
        found["bindings"] = nnf.binary_cross_entropy_with_logits(
            outputs.steps.bindings[bound], targets.bindings[bound]
        )
    asked = plan.argument_mask & (targets.arguments != IGNORE)
    if asked.any():
        found["arguments"] = nnf.cross_entropy(outputs.steps.arguments[asked], targets.arguments[asked])
    if targets.modes_known.any():
        logits = outputs.modes[targets.modes_known].log_softmax(dim=-1)
        wanted = targets.modes[targets.modes_known]
        found["modes"] = -(wanted * logits.clamp_min(-1e3)).sum(-1).mean()
        chances = logits.exp()
        found["feasibility"] = (chances * modes.overload[targets.modes_known]).sum(-1).mean()
    if targets.residual_known.any():
        found["residual"] = _residual_loss(outputs, batch)
    written = targets.text != IGNORE
    if written.any():
        found["text"] = nnf.cross_entropy(outputs.text, targets.text[written])
    factors = weights.model_dump()
    found["total"] = torch.stack([factors[name] * value for name, value in found.items()]).sum()
    return found


def _tool_loss(logits: Tensor, ready: Tensor, mask: Tensor) -> Tensor:
    """Mean of −log Σ p(ready) over the positions of steps."""
    logs = logits.log_softmax(dim=-1)
    right = logs.masked_fill(~ready, -1e9).logsumexp(dim=-1)
    return -right[mask].clamp_min(-1e3).mean()


def _residual_loss(outputs: Outputs, batch: Batch) -> Tensor:
    """Squared error of the corrections of the most probable right mode, on the amounts that it needs."""
    targets, known = batch.targets, batch.targets.residual_known
    best = targets.modes[known].argmax(dim=-1)
    rows = torch.arange(len(best), device=best.device)
    proposed = outputs.corrections[known][rows, best]
    used = batch.modes.need[known][rows, best] > 0
    if not used.any():
        return proposed.sum() * 0.0
    return (proposed - targets.residual[known])[used].pow(2).mean()
