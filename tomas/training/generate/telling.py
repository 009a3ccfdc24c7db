"""From a seed to a told world: its task, its answer's graph, and its phrasing family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from tomas.training.generate import noise
from tomas.training.generate.catalogue import Nouns
from tomas.training.generate.chinese import FAMILIES_ZH, Chinese
from tomas.training.generate.english import English
from tomas.training.generate.families_en import FAMILIES_EN
from tomas.training.generate.story import Language, Story, make_story
from tomas.training.generate.world import Pool, World, grow

__all__ = ["Told", "tell"]

_CLOSED = 0.15
_OPENED = 0.12
_PURPOSED = 0.1
_SLIPS = 0.06
_MIXED = 0.12
_TWICE = frozenset({"inverted"})
"""Families that need two steps."""


@dataclass(frozen=True)
class Told:
    """A task and what it means.

    :ivar order: all steps of the world in canonical order: topological, ties by first mention.
    :ivar family: ``language.family``.
    """

    task: str
    world: World
    story: Story
    order: tuple[int, ...]
    family: str


def tell(pool: Pool, nouns: Mapping[str, Nouns], language: Language, rng: Random) -> Told:
    """Grow a world and tell it in one family."""
    world = grow(pool, rng)
    story = make_story(world, language, nouns, rng)
    families = list(FAMILIES_EN if language == "en" else FAMILIES_ZH)
    if len(story.order) < 2:
        families = [name for name in families if name not in _TWICE and name != "deliverables"]
    if not _nests(story, 3 if language == "en" else 2):
        families.remove("results")
    family = rng.choice(families)
    mixed = language == "zh" and rng.random() < _MIXED
    if language == "en":
        task = FAMILIES_EN[family](English(story))
    else:
        task = FAMILIES_ZH[family](Chinese(story, mixed=mixed))
    if rng.random() < _PURPOSED:
        task = noise.purposed(task, language, rng)
    if rng.random() < _OPENED:
        task = noise.opened(task, language, rng)
    if rng.random() < _CLOSED:
        task = noise.closed(task, language, rng)
    if rng.random() < _SLIPS:
        task = noise.slips(task, language, rng)
    return Told(task, world, story, _canonical(story), f"{language}.{family}")


def _nests(story: Story, deepest: int) -> bool:
    """Whether every result can be named by what it is made of without a tangle."""
    depth: dict[int, int] = {}
    for step in story.order:
        parents = story.parents(step)
        if len(parents) > 1 or len(story.world.nodes[step].sources) > 1:
            return False
        depth[step] = 1 + max((depth[parent] for parent in parents), default=0)
    return max(depth.values()) <= deepest and len(story.order) <= 4


def _canonical(story: Story) -> tuple[int, ...]:
    """Topological order; of ready steps, the one mentioned first. An unsaid one goes with its reader."""
    nodes = story.world.nodes
    mention = {step: float(place) for place, step in enumerate(story.order)}
    for step in sorted(story.implied, reverse=True):
        mention[step] = min(mention[other] for other, node in enumerate(nodes) if step in node.parents) - 0.5
    order: list[int] = []
    left = set(range(len(nodes)))
    while left:
        ready = [step for step in left if not set(nodes[step].parents) & left]
        step = min(ready, key=lambda item: (mention[item], item))
        order.append(step)
        left.remove(step)
    return tuple(order)
