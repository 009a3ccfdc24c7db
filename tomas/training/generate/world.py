"""A world: a graph of tools that respects types, over the data of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from tomas.training.generate.lexicon import kinds
from tomas.training.generate.spec import Entry, ToolSpec

__all__ = ["Item", "Node", "Pool", "World", "grow"]

_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
_SIZE_WEIGHTS = (15, 20, 21, 16, 10, 7, 4, 3, 2, 2)
_SHAPES = ("chain", "fork", "mixed", "branches")
_SHAPE_WEIGHTS = (30, 20, 32, 18)
_TRIES = 12
_GLUE = 0.15
"""How often a world begins with a tool that people seldom name: what it makes is then asked for, or its reader."""
_SHARED = 0.6
"""How often a new branch starts from data that are given already, where some fit."""


@dataclass(frozen=True)
class Item:
    """Data that a step can read: an input of the request (``step`` -1), or an output of a step."""

    step: int
    index: int
    media_type: str


@dataclass
class Node:
    """A step of the world: what each port of its tool reads, in the tool's order; empty where not bound."""

    tool: ToolSpec
    sources: tuple[tuple[Item, ...], ...]

    @property
    def parents(self) -> tuple[int, ...]:
        """The steps that it reads from, ascending."""
        return tuple(sorted({item.step for items in self.sources for item in items if item.step >= 0}))


@dataclass
class World:
    """Inputs of a request by media type, and steps in an order in which every parent stands earlier."""

    inputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def items(self) -> list[Item]:
        """All data at hand after the last step."""
        given = [Item(-1, index, media) for index, media in enumerate(self.inputs)]
        made = [
            Item(step, index, out.media_type)
            for step, node in enumerate(self.nodes)
            for index, out in enumerate(node.tool.outputs)
        ]
        return given + made

    def leaves(self) -> list[int]:
        """Steps whose results nothing reads."""
        read = {parent for node in self.nodes for parent in node.parents}
        return [step for step in range(len(self.nodes)) if step not in read]

    def without_repeats(self) -> bool:
        """Whether what people call the results tells them apart, in both languages."""
        outs = [node.tool.outputs[0] for node in self.nodes if node.tool.outputs]
        return len({out.english for out in outs}) == len({out.chinese for out in outs}) == len(outs)


class Pool:
    """Tools from which worlds are grown, indexed by what they take."""

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        self.tools = tuple(tools)
        self.glue = [tool for tool in tools if tool.glue]
        self.domains = sorted({tool.domain for tool in tools})
        self._by_domain = {domain: [tool for tool in tools if tool.domain == domain] for domain in self.domains}
        self._takers: dict[str, list[ToolSpec]] = {}

    def of(self, domain: str) -> list[ToolSpec]:
        """Tools of a domain."""
        return self._by_domain[domain]

    def takers(self, media_type: str) -> list[ToolSpec]:
        """Tools whose first port takes data of this type."""
        found = self._takers.get(media_type)
        if found is None:
            found = [tool for tool in self.tools if tool.inputs and tool.inputs[0].takes(media_type)]
            self._takers[media_type] = found
        return found

    def makers(self, port: Entry) -> list[ToolSpec]:
        """Tools one of whose outputs may enter the port."""
        return [tool for tool in self.tools if any(port.takes(out.media_type) for out in tool.outputs)]


def grow(pool: Pool, rng: Random, size: int | None = None) -> World:
    """Grow a world of 1 to 10 steps: chains, forks, joins, diamonds, parallel branches.

    Every tool stands at most once in it, and the results of its steps have different names.
    """
    wanted = size or rng.choices(_SIZES, _SIZE_WEIGHTS)[0]
    best = World()
    for _ in range(_TRIES):
        world = _Grower(pool, rng, wanted).world()
        if len(world.nodes) > len(best.nodes):
            best = world
        if len(best.nodes) == wanted:
            break
    return best


class _Grower:
    def __init__(self, pool: Pool, rng: Random, size: int) -> None:
        self.pool = pool
        self.rng = rng
        self.size = size
        self.shape = rng.choices(_SHAPES, _SHAPE_WEIGHTS)[0]
        self.home = rng.choice(pool.domains)
        self.made = World()
        self.used: set[str] = set()
        self.said: set[str] = set()

    def world(self) -> World:
        self._first()
        stuck = 0
        while len(self.made.nodes) < self.size and stuck < 4:
            last = len(self.made.nodes) == self.size - 1
            if not (self._gather(last) or self._extend()):
                stuck += 1
        return self.made

    def _first(self) -> None:
        starters = [tool for tool in self.pool.of(self.home) if tool.inputs and not tool.gathers] or [
            tool for tool in self.pool.tools if not tool.gathers
        ]
        if self.pool.glue and self.rng.random() < _GLUE:
            starters = self.pool.glue
        self._add(self.rng.choice(starters), None)

    def _extend(self) -> bool:
        """One more step that reads one item at hand, or data of its own."""
        item = self._item()
        if item is None:
            starters = [tool for tool in self.pool.of(self.home) if not tool.gathers]
            return bool(starters) and self._add(self.rng.choice(starters), None)
        takers = [tool for tool in self.pool.takers(item.media_type) if self._free(tool) and not tool.gathers]
        if not takers:
            return False
        weights = [4.0 if tool.domain == self.home else 1.0 for tool in takers]
        return self._add(self.rng.choices(takers, weights)[0], item)

    def _item(self) -> Item | None:
        items = self.made.items()
        newest = [item for item in items if item.step == len(self.made.nodes) - 1]
        roll = self.rng.random()
        chain, fork = {"chain": (0.95, 0.99), "fork": (0.3, 0.97), "mixed": (0.6, 0.93), "branches": (0.55, 0.7)}[
            self.shape
        ]
        if roll < chain and newest:
            return self.rng.choice(newest[:1] * 3 + newest)
        if roll < fork:
            return self.rng.choice(items) if items else None
        return None

    def _gather(self, last: bool) -> bool:
        """A step that joins the results of several: likely as the last one."""
        if len(self.made.nodes) < 2 or self.rng.random() > (0.45 if last else 0.05):
            return False
        leaves = set(self.made.leaves())
        for tool in self.rng.sample(self.pool.tools, len(self.pool.tools)):
            if not tool.gathers or not self._free(tool):
                continue
            items: list[Item] = []
            for item in self.made.items():
                fits = item.step in leaves and tool.inputs[0].takes(item.media_type)
                if fits and not any(other.step == item.step for other in items):
                    items.append(item)
            if len(items) >= 2:
                return self._put(tool, (tuple(items), *self._rest(tool)))
        return False

    def _add(self, tool: ToolSpec, item: Item | None) -> bool:
        if not self._free(tool):
            return False
        if not tool.inputs:
            return self._put(tool, ())
        first = tool.inputs[0]
        if item is None and self.rng.random() < _SHARED:
            given = [Item(-1, at, media) for at, media in enumerate(self.made.inputs) if first.takes(media)]
            item = self.rng.choice(given) if given else None
        item = item or self._given(first)
        return self._put(tool, ((item,), *self._rest(tool, item)))

    def _rest(self, tool: ToolSpec, taken: Item | None = None) -> list[tuple[Item, ...]]:
        """What the ports after the first read: what is at hand, else data of their own; optional ones seldom."""
        result: list[tuple[Item, ...]] = []
        for port in tool.inputs[1:]:
            fitting = [item for item in self.made.items() if port.takes(item.media_type) and item != taken]
            if not port.required and (not fitting or self.rng.random() > 0.3):
                result.append(())
            elif fitting:
                result.append((self.rng.choice(fitting),))
            else:
                result.append((self._given(port),))
        return result

    def _given(self, port: Entry) -> Item:
        """A new input of the request, of a media type that the port takes."""
        offered = [media for kind in kinds().values() for media in kind.media_types if port.takes(media)] or [
            port.media_type.replace("*", "octet-stream")
        ]
        self.made.inputs.append(self.rng.choice(offered[:1] * 2 + offered))
        return Item(-1, len(self.made.inputs) - 1, self.made.inputs[-1])

    def _free(self, tool: ToolSpec) -> bool:
        names = {name for out in tool.outputs[:1] for name in (out.english, out.chinese)}
        return tool.name not in self.used and not names & self.said

    def _put(self, tool: ToolSpec, sources: tuple[tuple[Item, ...], ...]) -> bool:
        self.made.nodes.append(Node(tool, sources))
        self.used.add(tool.name)
        self.said.update(name for out in tool.outputs[:1] for name in (out.english, out.chinese))
        return True
