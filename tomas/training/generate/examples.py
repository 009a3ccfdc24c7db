"""Planning examples from a seed: input, answer, and what is needed to label allocations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from random import Random
from typing import Literal, TypedDict

import numpy as np

from tomas.model.example import (
    FloatArray,
    PlanningExample,
    PlanningInput,
    PlanningTarget,
    Source,
    StepTarget,
    ToolCard,
)
from tomas.training.generate import noise
from tomas.training.generate.cards import show
from tomas.training.generate.catalogue import catalogue
from tomas.training.generate.explanation import explain, explain_refusal
from tomas.training.generate.fleet import Fleet, draw_fleet
from tomas.training.generate.portrait import Law, Laws, draw_laws, draw_profiles, law_of
from tomas.training.generate.spec import ToolSpec
from tomas.training.generate.split import Split, group_of, split_of, split_of_tool
from tomas.training.generate.telling import Told, tell
from tomas.training.generate.world import Pool


class Context(TypedDict):
    """What an example says of workers and urgency."""

    classes: tuple[str, ...]
    capacity: FloatArray
    curves: FloatArray
    step_ms: float
    priority: int
    deadline_s: float | None


__all__ = ["Generated", "Generator", "Languages"]

Languages = Literal["en", "zh", "both"]

_MISSING = 0.10
_OFF_TOPIC = 0.03
_INJECTED = 0.03
_UNTYPED = 0.10
_UNGIVEN = 0.08
_DECLARED = 0.25
_WHOLE_REGISTRY = 0.5
_CANDIDATES = (6, 32)


@dataclass(frozen=True)
class Generated:
    """An example with the laws behind it, for labels; ``laws`` are per step of its answer."""

    example: PlanningExample
    fleet: Fleet
    laws: tuple[Law, ...]


class Generator:
    """Examples without end, each a function of the seed and its number alone."""

    def __init__(
        self,
        registry: Sequence[ToolSpec] = (),
        *,
        seed: int = 0,
        languages: Languages = "both",
        split: Split | None = "train",
        synthetic: bool = True,
        more: Sequence[Sequence[ToolSpec]] = (),
    ) -> None:
        """:param registry: tools of a given registry; they stand in all splits.
        :param split: of which the examples are; None: of any.
        :param synthetic: whether the catalogue's tools are used besides.
        :param more: further registries; each gives worlds and candidates of its own, as what its tools do may
            double what others do.
        """
        made = catalogue() if synthetic else None
        tools = made.tools if made else ()
        tools = _of_split(tools, split)
        self._registry = tuple(registry)
        self._everything = (*registry, *tools)
        open_pools = [(registry, 3.0), (tools, 5.0), (self._everything if registry and tools else (), 2.0)]
        pools = [(Pool(part), weight) for part, weight in open_pools if part]
        closed = [(Pool(_of_split(part, split)), 1.0) for part in more]
        self._pools = [pool for pool, _ in (*pools, *closed)]
        self._weights = [weight for _, weight in (*pools, *closed)]
        self._closed = {id(pool): _Neighbours(pool.tools) for pool, _ in closed}
        self._neighbours = _Neighbours(self._everything)
        self._nouns = catalogue().nouns
        self._seed = seed
        self._languages = languages
        self._split = split

    def __iter__(self) -> Iterator[PlanningExample]:
        number = 0
        while True:
            yield self.generate(number).example
            number += 1

    def generate(self, number: int) -> Generated:
        """The example of this number."""
        for attempt in range(200):
            rng = Random(f"{self._seed}:{number}:{attempt}")  # noqa: S311  (no secret)
            made = self._example(number, rng, strict=attempt < 199)
            if made is not None:
                return made
        raise AssertionError("the last attempt takes any split")

    def _example(self, number: int, rng: Random, *, strict: bool) -> Generated | None:
        language: Literal["en", "zh"] = rng.choice(("en", "zh")) if self._languages == "both" else self._languages
        numeric = np.random.default_rng(rng.getrandbits(63))
        if rng.random() < _OFF_TOPIC and self._split in (None, "train"):
            return self._off_topic(number, language, rng, numeric)
        pool = rng.choices(self._pools, self._weights)[0]
        told = tell(pool, self._nouns, language, rng)
        task = told.task
        if rng.random() < _INJECTED:
            task = noise.injected(task, language, rng)
        answer = [told.world.nodes[step].tool for step in told.order]
        group = group_of(told.family, {_full(tool) for tool in answer})
        if strict and self._split is not None and split_of(group) != self._split:
            return None
        missing = rng.choice(answer) if rng.random() < _MISSING and id(pool) not in self._closed else None
        shown = self._candidates(told, pool, missing, rng)
        typed = rng.random() >= _UNTYPED
        laws, fleet, cards = self._cards(shown, rng, numeric, typed=typed)
        given = typed and rng.random() >= _UNGIVEN
        names = [card.name for card in cards]
        target = (
            PlanningTarget(refuse=True, explanation=explain_refusal(language, missing))
            if missing is not None
            else _target(told, shown, names, language, bound=given)
        )
        example = PlanningExample(
            given=PlanningInput(
                task=task,
                language=language,
                candidates=tuple(cards),
                retrieval=np.zeros(len(cards), dtype=np.float32),
                inputs=_inputs(told, rng, numeric) if given else (),
                outputs=_declared(told, rng) if typed else (),
                **_context(fleet, rng),
            ),
            target=target,
            group=group,
            id=f"g{self._seed}-{number}",
        )
        steps = [] if missing is not None else [shown.index(tool) for tool in answer]
        return Generated(example, fleet, tuple(law_of(laws[index]) for index in steps))

    def _off_topic(
        self, number: int, language: Literal["en", "zh"], rng: Random, numeric: np.random.Generator
    ) -> Generated:
        task = noise.off_topic(language, rng) if rng.random() < 0.7 else noise.injected("", language, rng)
        count = min(rng.randint(*_CANDIDATES), len(self._everything))
        _, fleet, cards = self._cards(rng.sample(self._everything, count), rng, numeric, typed=True)
        reason = explain_refusal(language, None)
        example = PlanningExample(
            given=PlanningInput(
                task=task,
                language=language,
                candidates=tuple(cards),
                retrieval=np.zeros(len(cards), dtype=np.float32),
                **_context(fleet, rng),
            ),
            target=PlanningTarget(refuse=True, explanation=reason),
            group=group_of(f"{language}.offtopic", ()),
            id=f"g{self._seed}-{number}",
        )
        return Generated(example, fleet, ())

    def _candidates(self, told: Told, pool: Pool, missing: ToolSpec | None, rng: Random) -> list[ToolSpec]:
        """The answer's tools among near and far neighbours, shuffled; a missing one left out."""
        answer = [node.tool for node in told.world.nodes]
        among = pool.tools if id(pool) in self._closed else self._everything
        barred = {tool.name for tool in answer} | _rivals(told, among)
        if pool.tools == self._registry and rng.random() < _WHOLE_REGISTRY and len(pool.tools) <= _CANDIDATES[1]:
            chosen = [tool for tool in self._registry if tool.name not in barred]
        else:
            count = max(0, rng.randint(*_CANDIDATES) - len(answer))
            near = self._closed.get(id(pool), self._neighbours).of(answer, barred)
            chosen = rng.sample(near, min(len(near), rng.randint(0, count)))
            taken = barred.union(tool.name for tool in chosen)
            rest = [tool for tool in among if tool.name not in taken]
            chosen += rng.sample(rest, min(len(rest), count - len(chosen)))
        shown = [tool for tool in answer if tool is not missing] + chosen
        rng.shuffle(shown)
        return shown

    def _cards(
        self, shown: Sequence[ToolSpec], rng: Random, numeric: np.random.Generator, *, typed: bool
    ) -> tuple[Laws, Fleet, list[ToolCard]]:
        fleet = draw_fleet(rng, numeric)
        laws = draw_laws(numeric, len(shown), gpu=fleet.has_gpu)
        profiles = draw_profiles(laws, numeric, 8)
        bare = rng.random() < 0.1
        cards = []
        taken: set[str] = set()
        for tool, table in zip(shown, profiles, strict=True):
            rows = 0 if bare or rng.random() < 0.1 else rng.randint(2, 8)
            cards.append(show(tool, rng, typed=typed, taken=taken, profile=table[:rows]))
            taken.add(cards[-1].name)
        return laws, fleet, cards


def _of_split(tools: Sequence[ToolSpec], split: Split | None) -> tuple[ToolSpec, ...]:
    """In training no held-out tool is shown at all, not even as a candidate."""
    return tuple(tool for tool in tools if split != "train" or split_of_tool(_full(tool)) == "train")


def _full(tool: ToolSpec) -> str:
    return f"{tool.domain}/{tool.name}"


class _Neighbours:
    """Tools that could be mistaken for others: of their domain, or on the same data."""

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        self._domains: dict[str, list[ToolSpec]] = {}
        self._types: dict[str, list[ToolSpec]] = {}
        for tool in tools:
            self._domains.setdefault(tool.domain, []).append(tool)
            for port in tool.inputs:
                self._types.setdefault(port.media_type, []).append(tool)

    def of(self, answer: Sequence[ToolSpec], barred: AbstractSet[str]) -> list[ToolSpec]:
        """Neighbours of an answer's tools, in a fixed order."""
        found: dict[str, ToolSpec] = {}
        for tool in answer:
            near = [
                *self._domains.get(tool.domain, ()),
                *(t for p in tool.inputs for t in self._types[p.media_type]),
            ]
            found.update((other.name, other) for other in near if other.name not in barred)
        return list(found.values())


def _rivals(told: Told, tools: Sequence[ToolSpec]) -> set[str]:
    """Tools that could stand in for an unsaid step: the task would not say which."""
    result: set[str] = set()
    nodes = told.world.nodes
    for step in told.story.implied:
        given = nodes[step].sources[0][0].media_type
        readers = [node.tool.inputs[0] for node in nodes if step in node.parents]
        result |= {
            tool.name
            for tool in tools
            if tool.inputs
            and tool.inputs[0].takes(given)
            and any(reader.takes(out.media_type) for out in tool.outputs for reader in readers)
        }
    return result


def _inputs(told: Told, rng: Random, numeric: np.random.Generator) -> tuple[tuple[str, str, float | None], ...]:
    """Name, media type and size of the request's inputs."""
    result = []
    taken: set[str] = set()
    for index, media_type in enumerate(told.world.inputs):
        words = "".join(
            char if char.isalnum() and char.isascii() else "_" for char in told.story.nouns[index].short
        )
        kind = media_type.partition("/")[0]
        named = words.strip("_").lower() or kind
        name = rng.choice((named, named, kind, "input", "files", "data"))
        name = name if name not in taken else f"{name}_{index + 1}"
        taken.add(name)
        size = float(np.exp(numeric.uniform(np.log(3e4), np.log(2e8))))
        result.append((name, media_type, None if rng.random() < 0.15 else float(round(size))))
    return tuple(result)


def _declared(told: Told, rng: Random) -> tuple[str, ...]:
    """Sometimes the request declares the media types of its results."""
    if rng.random() > _DECLARED:
        return ()
    nodes = told.world.nodes
    return tuple(nodes[step].tool.outputs[0].media_type for step in told.world.leaves() if nodes[step].tool.outputs)


def _context(fleet: Fleet, rng: Random) -> Context:
    return {
        "classes": fleet.names,
        "capacity": fleet.capacity,
        "curves": fleet.curves,
        "step_ms": fleet.step_ms,
        "priority": rng.choice((1, 1, 1, 5, 10, 50)),
        "deadline_s": rng.choice((None, None, None, 60.0, 600.0, 3600.0)),
    }


def _target(
    told: Told, shown: Sequence[ToolSpec], names: Sequence[str], language: Literal["en", "zh"], *, bound: bool
) -> PlanningTarget:
    place = {step: index for index, step in enumerate(told.order)}
    steps = []
    for step in told.order:
        node = told.world.nodes[step]
        bindings = tuple(
            tuple(Source(place[item.step] if item.step >= 0 else -1, item.index) for item in items)
            for items in node.sources
        )
        steps.append(
            StepTarget(
                tool=shown.index(node.tool),
                parents=tuple(sorted(place[parent] for parent in node.parents)),
                bindings=bindings if bound else (),
                arguments=tuple(sorted(told.story.arguments.get(step, {}).items())),
            )
        )
    return PlanningTarget(tuple(steps), explanation=explain(told, [names[item.tool] for item in steps], language))
