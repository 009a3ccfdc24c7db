"""What a request will say: names for data, values for arguments, which steps go without saying, the order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from tomas.training.generate.catalogue import Nouns
from tomas.training.generate.lexicon import Noun, kinds
from tomas.training.generate.spec import Argument, fill
from tomas.training.generate.world import Item, Node, World

__all__ = ["Language", "Relation", "Story", "make_story"]

Language = Literal["en", "zh"]
Relation = Literal["first", "next", "later", "beside"]

_IMPLIED = 0.6
_BRACKETED = 0.4
_SLOT = re.compile(r"\{(\w+)\}")
_NUMBERS = {
    "en": ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
    "zh": list("两三四五六七八九十"),
}


@dataclass
class Story:
    """A world with all that is needed to tell it in one language.

    :ivar nouns: of each input of the request.
    :ivar implied: steps that are not said: only one tool can make what the next step needs.
    :ivar order: the said steps, every parent that is said before its children.
    :ivar arguments: what each step's phrase has set: name → value as text.
    """

    world: World
    language: Language
    rng: Random
    nouns: list[Noun] = field(default_factory=list)
    implied: set[int] = field(default_factory=set)
    order: list[int] = field(default_factory=list)
    arguments: dict[int, dict[str, str]] = field(default_factory=dict)

    def resolve(self, item: Item) -> Item:
        """The item that is named where this one is read: an implied step's result goes by what it was made of."""
        while item.step in self.implied:
            item = self.world.nodes[item.step].sources[0][0]
        return item

    def sources(self, step: int, port: int = 0) -> tuple[Item, ...]:
        """What is named as read by a port of a step."""
        return tuple(self.resolve(item) for item in self.world.nodes[step].sources[port])

    def parents(self, step: int) -> set[int]:
        """The said steps whose results are named as read by a step."""
        node = self.world.nodes[step]
        return {
            item.step for port in range(len(node.sources)) for item in self.sources(step, port) if item.step >= 0
        }

    def leaves(self) -> list[int]:
        """Said steps whose results nothing reads, in order of mention."""
        leaves = set(self.world.leaves())
        return [step for step in self.order if step in leaves]

    def values(self, step: int, template: str) -> dict[str, str]:
        """Words for the arguments of a phrase: all outside brackets, some inside; their values are kept."""
        tool = self.world.nodes[step].tool
        known = {item.name: item for item in tool.arguments}
        outside = set(_SLOT.findall(re.sub(r"\[[^\[\]]*\]", "", template)))
        words: dict[str, str] = {}
        chosen: dict[str, str] = {}
        for name in dict.fromkeys(_SLOT.findall(template)):
            argument = known.get(name)
            if argument is None or (name not in outside and self.rng.random() > _BRACKETED):
                continue
            value, said = self._value(argument, chosen)
            if said:
                words[name] = said
                chosen[name] = value
        self.arguments[step] = chosen
        return words

    def _value(self, argument: Argument, chosen: Mapping[str, str]) -> tuple[str, str]:
        rng = self.rng
        side = 0 if self.language == "en" else 1
        if argument.choices:
            named = [item for item in argument.choices if not argument.spoken or item[0] in argument.spoken]
            free = [item for item in named if item[0] not in chosen.values()] or named
            value = rng.choice(free)
            return value[0], value[1 + side]
        if argument.kind in ("integer", "number"):
            return self._number(argument)
        samples = argument.samples[side] or argument.samples[0]
        text = rng.choice(samples) if samples else ""
        return text, text

    def _number(self, argument: Argument) -> tuple[str, str]:
        value = round(self.rng.uniform(argument.low, argument.high))
        if value >= 100 and self.rng.random() < 0.8:
            value = max(int(argument.low), round(value / 20) * 20)
        if argument.kind == "number" and value < 20 and self.rng.random() < 0.3:
            return f"{value}.5", f"{value}.5"
        if 2 <= value <= 10 and self.rng.random() < 0.25:
            return str(value), _NUMBERS[self.language][value - 2]
        return str(value), str(value)

    def relation(self, step: int, before: list[int]) -> Relation:
        """How a step hangs together with what was said before."""
        if not before:
            return "first"
        parents = self.parents(step)
        if before[-1] in parents:
            return "next"
        return "later" if parents else "beside"


def make_story(world: World, language: Language, nouns: Mapping[str, Nouns], rng: Random) -> Story:
    """Choose names, silent steps and the order of mention."""
    story = Story(world, language, rng)
    _imply(story)
    _name(story, nouns)
    _order(story)
    return story


def _imply(story: Story) -> None:
    """A tool that only turns the request's data into what its readers need may go without saying."""
    nodes = story.world.nodes
    for step, node in enumerate(nodes):
        readers = [child for child in nodes if step in child.parents]
        own = len(node.sources) == 1 and len(node.sources[0]) == 1 and node.sources[0][0].step < 0
        if not node.tool.glue or not own or not readers or story.rng.random() > _IMPLIED:
            continue
        if all(_needs_only(story.world, step, child) for child in readers):
            story.implied.add(step)


def _needs_only(world: World, step: int, reader: Node) -> bool:
    """Whether a reader makes clear that something must be turned into what it reads, and what."""
    entry = reader.tool.inputs[0]
    only = len(reader.sources[0]) == 1 and reader.sources[0][0].step == step and not reader.tool.gathers
    # What it reads must not be at hand otherwise, or the task would mean that; what changes a picture might
    # as well be asked of the video.
    given = any(entry.takes(media) for media in world.inputs)
    alike = any(entry.takes(out.media_type) for out in reader.tool.outputs)
    return only and not given and not alike


def _name(story: Story, nouns: Mapping[str, Nouns]) -> None:
    """A noun for each input, as its first reader's domain calls such data; no two alike."""
    side = 0 if story.language == "en" else 1
    taken: set[str] = {
        getattr(out, "english" if side == 0 else "chinese")
        for node in story.world.nodes
        for out in node.tool.outputs
    }
    for index, media_type in enumerate(story.world.inputs):
        kind = next((item for item in kinds().values() if media_type in item.media_types), None)
        reader = next(
            (
                node.tool
                for node in story.world.nodes
                for items in node.sources
                for item in items
                if item.step < 0 and item.index == index
            ),
            None,
        )
        choices: list[Noun] = []
        if kind is not None:
            own = nouns.get(reader.domain, {}).get(kind.name) if reader else None
            choices = list(own[side]) if own and story.rng.random() < 0.75 else []
            general = list(kind.english if side == 0 else kind.chinese)
            story.rng.shuffle(choices)
            story.rng.shuffle(general)
            choices += general
        fresh = [noun for noun in choices if noun.short not in taken and noun.long not in taken]
        noun = fresh[0] if fresh else Noun(*[f"files {index + 1}" if side == 0 else f"第{index + 1}组文件"] * 2)
        taken |= {noun.short, noun.long}
        story.nouns.append(noun)


def _order(story: Story) -> None:
    """Every said parent before its children; a thread is usually followed to its end before the next begins."""
    left = [step for step in range(len(story.world.nodes)) if step not in story.implied]
    while left:
        ready = [step for step in left if not story.parents(step) & set(left)]
        thread = [step for step in ready if story.order and story.order[-1] in story.parents(step)]
        if thread and story.rng.random() < 0.8:
            step = story.rng.choice(thread)
        else:
            step = ready[0] if story.rng.random() < 0.7 else story.rng.choice(ready)
        story.order.append(step)
        left.remove(step)


def filled(template: str, nouns: Mapping[str, str], words: Mapping[str, str]) -> str:
    """A phrase with its data and values put in, blanks tidied."""
    text = fill(template, {**nouns, **words})
    return re.sub(r"\s+([,.;，。；])", r"\1", re.sub(r"\s{2,}", " ", text)).strip()
