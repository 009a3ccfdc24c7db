"""What the backbone reads before it plans, as padded tensors: classes, request, task, candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomas.errors import DataError
from tomas.model.config import NeuralConfig
from tomas.model.example import PROFILE_FEATURES, FloatArray, PlanningInput, Precedent, ToolCard
from tomas.model.task_text import TaskTokens, task_tokens
from tomas.model.tensors import TensorBatch
from tomas.model.texts import TextTable
from tomas.model.tokenizer import TextTokenizer

__all__ = ["CLASS_FEATURES", "PROFILE_INPUTS", "Prompt", "build_prompt", "narrow", "warp_curve"]

PROFILE_INPUTS = len(PROFILE_FEATURES) + 4
"""The columns of a profile row, and its four amounts as shares of the largest class."""
CLASS_FEATURES = 6
"""ln(1 + capacity) of the four resources, whether there is a GPU, ln(1 + horizon in s)."""
_ALLOTTED = [PROFILE_FEATURES.index(name) for name in ("cpu_cores", "cpu_mem_gb", "gpu_sm", "gpu_mem_gb")]
_RETRIEVAL_BOUND = 30.0


@dataclass(frozen=True)
class Prompt(TensorBatch):
    """Tensors of B requests; segments are padded to the longest of the batch, masks say what is real.

    Shapes: B requests, C classes, R inputs and outputs of the request, T tokens, K candidates, P profile rows.
    """

    task: Tensor
    """(B, T) token ids."""
    task_mask: Tensor
    """(B, T) bool, as all masks."""
    io_text: Tensor
    """(B, R) rows of the short table."""
    io_features: Tensor
    """(B, R, 3): is an output, size is known, ln(1 + bytes) / 20."""
    io_mask: Tensor
    request: Tensor
    """(B, 3): priority / 100, has a deadline, ln(1 + deadline in s) / 10."""
    tool_text: Tensor
    """(B, K) rows of the long table."""
    tool_ports: Tensor
    """(B, K) rows of the short table: media types in and out."""
    tool_mask: Tensor
    profile: Tensor
    """(B, K, P, PROFILE_INPUTS)."""
    profile_mask: Tensor
    """(B, K, P)."""
    retrieval: Tensor
    """(B, K)."""
    curves: Tensor
    """(B, C, 4, cells)."""
    classes: Tensor
    """(B, C, CLASS_FEATURES)."""
    class_mask: Tensor

    @property
    def size(self) -> int:
        """B."""
        return self.task.shape[0]


def narrow(given: PlanningInput, most: int) -> PlanningInput:
    """The same request with its ``most`` candidates of the best retrieval score, ties by name."""
    if len(given.candidates) <= most:
        return given
    ranks = [(-float(score), card.name) for score, card in zip(given.retrieval, given.candidates, strict=True)]
    kept = sorted(sorted(range(len(ranks)), key=ranks.__getitem__)[:most])
    new = {old: place for place, old in enumerate(kept)}
    return replace(
        given,
        candidates=tuple(given.candidates[k] for k in kept),
        retrieval=np.asarray(given.retrieval)[kept],
        precedents=tuple(
            Precedent(tuple(new[k] for k in known.tools), known.weight)
            for known in given.precedents
            if all(k in new for k in known.tools)
        ),
    )


def build_prompt(
    inputs: Sequence[PlanningInput],
    tokenizer: TextTokenizer,
    config: NeuralConfig,
    long: TextTable,
    short: TextTable,
) -> tuple[Prompt, list[TaskTokens]]:
    """Pad requests to common lengths.

    :return: the tensors, and per request its tokens with their places in the task.
    :raises DataError: a request exceeds ``model.limits``, or its arrays disagree in length.
    """
    limits = config.model.limits
    for given in inputs:
        _check(given, config)
    size = len(inputs)
    tasks = []
    for given in inputs:
        others = len(given.classes) + len(given.inputs) + len(given.outputs) + len(given.candidates)
        room = limits.max_sequence - others - limits.max_steps - 2
        tasks.append(task_tokens(given.task, tokenizer, room, (card.text for card in given.candidates)))
    tokens = max(len(item.ids) for item in tasks)
    ios = max(len(given.inputs) + len(given.outputs) for given in inputs)
    tools = max(len(given.candidates) for given in inputs)
    groups = max(len(given.classes) for given in inputs)
    most = config.model.resource_mlp.max_rows
    rows = max(min(len(card.profile), most) for given in inputs for card in given.candidates)
    cells = config.model.temporal.cells
    a: dict[str, NDArray[np.generic]] = {
        "task": np.zeros((size, tokens), np.int64),
        "task_mask": np.zeros((size, tokens), np.bool_),
        "io_text": np.zeros((size, ios), np.int64),
        "io_features": np.zeros((size, ios, 3), np.float32),
        "io_mask": np.zeros((size, ios), np.bool_),
        "request": np.zeros((size, 3), np.float32),
        "tool_text": np.zeros((size, tools), np.int64),
        "tool_ports": np.zeros((size, tools), np.int64),
        "tool_mask": np.zeros((size, tools), np.bool_),
        "profile": np.zeros((size, tools, rows, PROFILE_INPUTS), np.float32),
        "profile_mask": np.zeros((size, tools, rows), np.bool_),
        "retrieval": np.zeros((size, tools), np.float32),
        "curves": np.zeros((size, groups, 4, cells), np.float32),
        "classes": np.zeros((size, groups, CLASS_FEATURES), np.float32),
        "class_mask": np.zeros((size, groups), np.bool_),
    }
    for b, (given, task) in enumerate(zip(inputs, tasks, strict=True)):
        a["task"][b, : len(task.ids)] = task.ids
        a["task_mask"][b, : len(task.ids)] = True
        _request(a, b, given, short)
        largest = given.capacity.max(axis=0) if len(given.classes) else np.ones(4, np.float32)
        for k, card in enumerate(given.candidates):
            a["tool_text"][b, k] = long.row(card.text)
            a["tool_ports"][b, k] = short.row(_ports(card))
            profile = _profile(card.profile, largest, most)
            a["profile"][b, k, : len(profile)] = profile
            a["profile_mask"][b, k, : len(profile)] = True
        a["tool_mask"][b, : len(given.candidates)] = True
        scores = np.nan_to_num(np.asarray(given.retrieval, np.float32), nan=0.0)
        a["retrieval"][b, : len(given.candidates)] = np.clip(scores, -_RETRIEVAL_BOUND, _RETRIEVAL_BOUND)
        horizon_s = given.curves.shape[-1] * given.step_ms / 1000.0
        for c in range(len(given.classes)):
            a["curves"][b, c] = warp_curve(given.curves[c], cells)
            amounts = given.capacity[c]
            a["classes"][b, c] = [*np.log1p(amounts), float(amounts[2] > 0), np.log1p(horizon_s)]
        a["class_mask"][b, : len(given.classes)] = True
    return Prompt(**{name: torch.from_numpy(value) for name, value in a.items()}), tasks


def warp_curve(curve: FloatArray, cells: int) -> FloatArray:
    """Means of a curve over ``cells`` intervals that widen with time: fine near the release, coarse far off.

    :param curve: values over even cells, shape (..., n), n ≥ 1.
    :return: shape (..., cells); interval i spans ((i / cells)², ((i + 1) / cells)²) of the horizon.
    """
    count = curve.shape[-1]
    edges = (np.linspace(0.0, 1.0, cells + 1) ** 2) * count
    flat = np.asarray(curve, np.float64).reshape(-1, count)
    sums = np.concatenate([np.zeros((len(flat), 1)), np.cumsum(flat, axis=1)], axis=1)
    grid = np.arange(count + 1, dtype=np.float64)
    at = np.stack([np.interp(edges, grid, row) for row in sums])
    means: FloatArray = (np.diff(at, axis=1) / np.diff(edges)).astype(np.float32)
    return means.reshape(*curve.shape[:-1], cells)


def _check(given: PlanningInput, config: NeuralConfig) -> None:
    limits = config.model.limits
    counts = {
        "candidates": (len(given.candidates), limits.max_candidates),
        "classes": (len(given.classes), limits.max_classes),
        "inputs and outputs": (len(given.inputs) + len(given.outputs), limits.max_inputs),
    }
    for what, (count, most) in counts.items():
        if count > most:
            raise DataError(
                f"The request “{given.task[:60]}” has {count} {what}; the model reads at most {most}.",
                remedy="Narrow the request, or raise model.limits in the configuration and train again.",
            )
    if not given.candidates:
        raise DataError(f"The request “{given.task[:60]}” has no candidates.", remedy="Give at least one tool.")
    if len(given.retrieval) != len(given.candidates):
        raise DataError(
            f"The request “{given.task[:60]}” has {len(given.retrieval)} retrieval scores for "
            f"{len(given.candidates)} candidates.",
            remedy="Give one score per candidate.",
        )
    if given.capacity.shape != (len(given.classes), 4) or given.curves.shape[:2] != (len(given.classes), 4):
        raise DataError(
            f"The request “{given.task[:60]}” names {len(given.classes)} classes, its capacity has the shape "
            f"{given.capacity.shape} and its curves {given.curves.shape}.",
            remedy="Give (classes, 4) and (classes, 4, cells).",
        )


def _request(a: dict[str, NDArray[np.generic]], b: int, given: PlanningInput, short: TextTable) -> None:
    for r, (name, media, size) in enumerate(given.inputs):
        a["io_text"][b, r] = short.row(f"{name} {media}")
        a["io_features"][b, r] = (0.0, float(size is not None), np.log1p(size or 0.0) / 20.0)
        a["io_mask"][b, r] = True
    for r, media in enumerate(given.outputs, start=len(given.inputs)):
        a["io_text"][b, r] = short.row(media)
        a["io_features"][b, r] = (1.0, 0.0, 0.0)
        a["io_mask"][b, r] = True
    deadline = given.deadline_s
    a["request"][b] = (given.priority / 100.0, float(deadline is not None), np.log1p(deadline or 0.0) / 10.0)


def _ports(card: ToolCard) -> str:
    if not card.inputs and not card.outputs:
        return ""
    taken = " ".join(port.media_type for port in card.inputs)
    return f"{taken} > {' '.join(port.media_type for port in card.outputs)}"


def _profile(rows: FloatArray, largest: FloatArray, most: int) -> FloatArray:
    """At most ``most`` rows, spread evenly over all in their sorted order, with shares of the largest class."""
    if not len(rows):
        return np.zeros((0, PROFILE_INPUTS), np.float32)
    rows = rows[np.lexsort(rows.T[::-1])]
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
    shares = rows[:, _ALLOTTED] / np.maximum(largest, 1e-6)
    return np.concatenate([rows, np.clip(shares, 0.0, 10.0)], axis=1).astype(np.float32)
