"""What a neural planner must beat: linear and two-layer classifiers, the retrieval planner, a chain as listed."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from benchmarks.planning_formats import Request
from benchmarks.planning_metrics import Chain
from tomas.config import get_settings
from tomas.model.example import FloatArray, ToolCard
from tomas.planner.index import ToolIndex, ToolWords
from tomas.planner.selection import select
from tomas.planner.text import clauses, normalise
from tomas.schema import InputSizeThresholds, Port, Tool

__all__ = ["bag_of_bigrams", "mlp_of_vectors", "retrieval"]

_BUCKETS = 1 << 17
_WORD = re.compile(r"[a-z]+|\d|[\u4e00-\u9fff]")
_THRESHOLD = 0.4


def bag_of_bigrams(train: Sequence[Request], requests: Sequence[Request], *, epochs: int = 25) -> list[Chain]:
    """A linear one-vs-rest model on words and bigrams; order by the pairs seen in training."""
    names, right = _labels(train)
    torch.manual_seed(0)
    weights = nn.EmbeddingBag(_BUCKETS, len(names), mode="sum", sparse=True)
    nn.init.zeros_(weights.weight)
    bias = nn.Parameter(torch.full((len(names),), -4.0))
    optimizers = [
        torch.optim.SparseAdam(list(weights.parameters()), lr=0.02),
        torch.optim.Adam([bias], lr=0.02),
    ]
    bags = [_bag(item.task) for item in train]

    def logits(rows: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        starts = torch.tensor([0, *np.cumsum([len(ids) for ids, _ in rows])[:-1].tolist()])
        ids, values = (torch.cat(parts) for parts in zip(*rows, strict=True))
        found: Tensor = weights(ids, starts, per_sample_weights=values) + bias
        return found

    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(train))
        for begin in range(0, len(order), 64):
            rows = order[begin : begin + 64]
            loss = nnf.binary_cross_entropy_with_logits(logits([bags[row] for row in rows]), right[rows])
            for optimizer in optimizers:
                optimizer.zero_grad()
            torch.autograd.backward(loss * len(names))
            for optimizer in optimizers:
                optimizer.step()
    with torch.inference_mode():
        chances = logits([_bag(item.task) for item in requests]).sigmoid().numpy()
    return _chains(chances, names, train)


def mlp_of_vectors(
    train: Sequence[Request],
    requests: Sequence[Request],
    encode: Callable[[Sequence[str]], FloatArray],
    *,
    epochs: int = 30,
) -> list[Chain]:
    """Frozen sentence vectors and hashed words into two layers over the tools; order by the pairs seen."""
    names, right = _labels(train)
    torch.manual_seed(0)
    vectors = torch.from_numpy(encode([item.task for item in train])).flatten(1)
    mean, spread = vectors.mean(dim=0), vectors.std(dim=0) + 1e-6
    words = nn.EmbeddingBag(_BUCKETS, 256, mode="sum", sparse=True)
    nn.init.normal_(words.weight, std=0.02)
    first, last = nn.Linear(vectors.shape[1], 256), nn.Linear(256, len(names))
    nn.init.constant_(last.bias, -4.0)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SparseAdam(list(words.parameters()), lr=2e-3),
        torch.optim.Adam([*first.parameters(), *last.parameters()], lr=2e-3),
    ]
    bags = [_bag(item.task) for item in train]

    def logits(rows: Sequence[tuple[Tensor, Tensor]], dense: Tensor, drop: float) -> Tensor:
        starts = torch.tensor([0, *np.cumsum([len(ids) for ids, _ in rows])[:-1].tolist()])
        ids, values = (torch.cat(parts) for parts in zip(*rows, strict=True))
        inner = words(ids, starts, per_sample_weights=values) + first((dense - mean) / spread)
        found: Tensor = last(nnf.dropout(inner.relu(), drop, training=drop > 0))
        return found

    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(train))
        for begin in range(0, len(order), 128):
            rows = order[begin : begin + 128]
            found = logits([bags[row] for row in rows], vectors[rows], 0.4)
            for optimizer in optimizers:
                optimizer.zero_grad()
            torch.autograd.backward(nnf.binary_cross_entropy_with_logits(found, right[rows]) * len(names))
            for optimizer in optimizers:
                optimizer.step()
    with torch.inference_mode():
        dense = torch.from_numpy(encode([item.task for item in requests])).flatten(1)
        chances = logits([_bag(item.task) for item in requests], dense, 0.0).sigmoid().numpy()
    return _chains(chances, names, train)


def retrieval(requests: Sequence[Request], cards: Sequence[ToolCard]) -> list[Chain]:
    """The choice of tools of the retrieval planner, in the order of mention; it is not trained."""
    port = Port(name="data", type="*/*")
    tools = [
        Tool(
            name=f"t{number}",
            family="any",
            description=card.text[:2000],
            aliases=[card.name.replace("_", " ")],
            inputs=[port],
            outputs=[port],
            input_size=InputSizeThresholds(small_max_bytes=1, medium_max_bytes=2),
        )
        for number, card in enumerate(cards)
    ]
    index = ToolIndex(map(ToolWords.of, tools))
    names = {tool.name: card.name for tool, card in zip(tools, cards, strict=True)}
    threshold = get_settings().planner.match_threshold
    found = []
    for request in requests:
        task = normalise(request.task)
        chosen = select(
            index, task, clauses(task), among=list(names), given=frozenset(), threshold=threshold
        ).choices
        found.append(tuple(names[choice.tool] for choice in sorted(chosen, key=lambda choice: choice.stage)))
    return found


def _labels(train: Sequence[Request]) -> tuple[list[str], Tensor]:
    names = sorted({name for item in train for name in item.plan})
    place = {name: number for number, name in enumerate(names)}
    right = torch.zeros(len(train), len(names))
    for row, item in enumerate(train):
        right[row, [place[name] for name in item.plan]] = 1.0
    return names, right


def _bag(text: str) -> tuple[Tensor, Tensor]:
    """Hashes of words and bigrams with weights whose squares add up to 1."""
    words = _WORD.findall(text.lower())
    grams = Counter([*words, *(" ".join(pair) for pair in pairwise(words))]) or Counter([""])
    ids = torch.tensor([zlib.crc32(gram.encode()) % _BUCKETS for gram in grams])
    return ids, torch.full((len(ids),), len(ids) ** -0.5)


def _chains(chances: FloatArray, names: Sequence[str], train: Sequence[Request]) -> list[Chain]:
    """Tools above the threshold, at least two, each before those that more often follow than precede it."""
    before = Counter(
        (a, b) for item in train for i, a in enumerate(item.plan) for b in item.plan[i + 1 :] if a != b
    )
    found = []
    for row in chances:
        count = max(2, int((row > _THRESHOLD).sum()))
        chosen = [names[k] for k in np.argsort(-row)[:count]]
        rank = {a: sum(before[b, a] > before[a, b] for b in chosen) for a in chosen}
        found.append(tuple(sorted(chosen, key=lambda name: rank[name])))
    return found
