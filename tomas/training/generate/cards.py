"""How a tool is shown to the model: renamed, its texts chosen, cut and shuffled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from random import Random

from tomas.model.example import ArgumentCard, FloatArray, PortCard, ToolCard
from tomas.training.generate.lexicon import LANGUAGE_NAMES
from tomas.training.generate.spec import Argument, ToolSpec

__all__ = ["show"]

_AS_GIVEN = 0.35
_OPAQUE = 0.06
_NAMED = 0.6
_PREFIXES_EN = ("", "", "", "", "Use this to get the job done: ", "What it does: ", "This tool: ", "Service: ")
_PREFIXES_ZH = ("", "", "", "", "功能：", "本工具用于", "说明：")


def show(
    spec: ToolSpec,
    rng: Random,
    *,
    profile: FloatArray,
    augment: bool = True,
    typed: bool = True,
    taken: AbstractSet[str] = frozenset(),
) -> ToolCard:
    """A card of a tool.

    :param augment: whether it may be renamed and its description paraphrased and cut.
    :param typed: whether its ports are shown.
    :param taken: names of other tools, which this one must not get.
    """
    as_given = not augment or rng.random() < _AS_GIVEN
    name = spec.name if as_given else _name(spec, rng)
    name = name if name not in taken else f"{name}_{len(taken)}"
    text = _text(name, [*spec.aliases, *spec.aliases_zh], [spec.description, spec.description_zh])
    return ToolCard(
        name=name,
        text=text if as_given else _varied(name, spec, rng),
        inputs=tuple(PortCard(port.name, port.media_type, port.required) for port in spec.inputs) if typed else (),
        outputs=tuple(PortCard(port.name, port.media_type) for port in spec.outputs) if typed else (),
        arguments=_arguments(spec, named=not augment or rng.random() < _NAMED),
        profile=profile,
    )


@lru_cache(maxsize=4096)
def _arguments(spec: ToolSpec, *, named: bool) -> tuple[ArgumentCard, ...]:
    return tuple(_argument(item, named=named) for item in spec.arguments)


def _argument(item: Argument, *, named: bool) -> ArgumentCard:
    """Languages are always known by their names, other values only where ``named``."""
    languages = any(choice[0] in LANGUAGE_NAMES for choice in item.choices)
    names = tuple(tuple(dict.fromkeys(choice[1:])) for choice in item.choices) if languages or named else ()
    label = item.name.replace("_", " ")
    return ArgumentCard(
        item.name,
        f"{label}: {item.text}" if item.text else label,
        item.kind,
        tuple(choice[0] for choice in item.choices),
        item.required,
        names,
    )


def _text(name: str, aliases: Sequence[str], descriptions: Sequence[str]) -> str:
    parts = [name.replace("_", " "), ", ".join(aliases), *descriptions]
    return ". ".join(part.rstrip(".。") for part in parts if part)


def _name(spec: ToolSpec, rng: Random) -> str:
    """A synonym in some spelling, seldom a name that says nothing."""
    if rng.random() < _OPAQUE:
        return rng.choice(("tool_{n}", "svc-{n}", "op{n}", "node_{n}", "fn{n}")).format(n=rng.randrange(2, 400))
    bases = [spec.name.replace("_", " "), spec.noun, *(alias for alias in spec.aliases if len(alias.split()) <= 4)]
    if spec.aliases_zh and rng.random() < 0.12:
        return rng.choice(spec.aliases_zh)
    words: list[str] = re.findall(r"[A-Za-z0-9]+", rng.choice(bases)) or [spec.name]
    style = rng.randrange(6)
    if style <= 2:
        return "_".join(word.lower() for word in words)
    if style == 3:
        return words[0].lower() + "".join(word.capitalize() for word in words[1:])
    if style == 4:
        return "-".join(word.lower() for word in words)
    return " ".join(word.capitalize() for word in words)


def _varied(name: str, spec: ToolSpec, rng: Random) -> str:
    aliases = [*spec.aliases, *spec.aliases_zh]
    kept = rng.sample(aliases, rng.randint(0, min(len(aliases), 6)))
    descriptions = []
    roll = rng.random()
    if roll < 0.8 or not spec.description_zh:
        descriptions.append(_described(spec, rng))
    if (roll > 0.45 or not descriptions) and spec.description_zh:
        zh = spec.description_zh if rng.random() < 0.6 else _first(spec.description_zh, "。")
        descriptions.append(rng.choice(_PREFIXES_ZH) + zh)
    rng.shuffle(descriptions)
    return _text(name, kept, descriptions)


def _described(spec: ToolSpec, rng: Random) -> str:
    roll = rng.random()
    if roll < 0.55:
        return rng.choice(_PREFIXES_EN) + spec.description
    if roll < 0.85 or not spec.outputs or not spec.inputs:
        return rng.choice(_PREFIXES_EN) + _first(spec.description, ". ")
    made = spec.outputs[0].english
    return rng.choice(
        (f"{spec.noun}: makes {made}", f"Does {spec.noun} and returns {made}", f"{spec.noun} service")
    )


def _first(text: str, mark: str) -> str:
    return text.partition(mark)[0]
