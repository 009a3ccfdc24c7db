"""What both languages share in telling a story: which name or pronoun stands for which data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random

from tomas.training.generate.spec import ToolSpec
from tomas.training.generate.story import Relation, Story
from tomas.training.generate.world import Item

__all__ = ["Speaker"]


class Speaker(ABC):
    """Tells the steps of a story one by one and remembers what was said.

    Subclasses give the words: :meth:`long`, :meth:`short`, :meth:`pronoun`, :meth:`everything`, :meth:`several`.
    """

    pronouns = 0.45
    """How often data that were just spoken of are named by a pronoun, where that is clear."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.rng: Random = story.rng
        self.said: list[int] = []
        self.named: set[Item] = set()

    @abstractmethod
    def long(self, item: Item) -> str:
        """The name at first mention."""

    @abstractmethod
    def short(self, item: Item) -> str:
        """The name at later mentions."""

    @abstractmethod
    def pronoun(self, item: Item) -> str:
        """A pronoun, or "the result"."""

    @abstractmethod
    def everything(self) -> str:
        """All results so far."""

    @abstractmethod
    def several(self, names: list[str]) -> str:
        """A list of names."""

    def tool(self, step: int) -> ToolSpec:
        """The tool of a step."""
        return self.story.world.nodes[step].tool

    def relation(self, step: int) -> Relation:
        """How a step hangs together with what was said."""
        return self.story.relation(step, self.said)

    def nouns(self, step: int, *, pronouns: bool = True) -> dict[str, str]:
        """Names for what each port reads, by port; the first port's also as ``in``."""
        tool = self.tool(step)
        result: dict[str, str] = {}
        for index, port in enumerate(tool.inputs):
            items = self.story.sources(step, index)
            if not items:
                continue
            result[port.name] = self._names(step, index, items, pronouns=pronouns and index == 0)
            if index == 0:
                result["in"] = result[port.name]
        self.said.append(step)
        return result

    def _names(self, step: int, port: int, items: tuple[Item, ...], *, pronouns: bool) -> str:
        if len(items) > 1:
            unread = {other for other in self.said if not any(other in self.story.parents(s) for s in self.said)}
            self.named.update(items)
            if {item.step for item in items} == unread and self.rng.random() < 0.5:
                return self.everything()
            return self.several([self.short(item) for item in items])
        item = items[0]
        if pronouns and self._clear(step, port, item) and self.rng.random() < self.pronouns:
            return self.pronoun(item)
        first = item.step < 0 and item not in self.named
        self.named.add(item)
        return self.long(item) if first else self.short(item)

    def _clear(self, step: int, port: int, item: Item) -> bool:
        """Whether a pronoun can only mean this item: of what was just spoken of, nothing else fits the port."""
        if not self.said:
            return False
        last = self.said[-1]
        node = self.story.world.nodes[last]
        spoken = [Item(last, index, out.media_type) for index, out in enumerate(node.tool.outputs)]
        spoken += [source for index in range(len(node.sources)) for source in self.story.sources(last, index)]
        entry = self.tool(step).inputs[port]
        implied = any(source.step in self.story.implied for source in self.story.world.nodes[step].sources[port])
        fitting = [other for other in spoken if implied or entry.takes(other.media_type)]
        return fitting == [item]
