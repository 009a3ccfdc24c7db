"""Any registry as a pool of tools for generated worlds: phrases from its wording, else from aliases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tomas.schema import Tool
from tomas.training.generate.catalogue import Wording, wordings
from tomas.training.generate.lexicon import LANGUAGE_NAMES, kinds
from tomas.training.generate.spec import Argument, Entry, Output, Phrase, ToolSpec

__all__ = ["HAN", "REGISTRY_DOMAIN", "spec_of", "specs_of"]

HAN = re.compile(r"[\u4e00-\u9fff]")
REGISTRY_DOMAIN = "registry"
"""Prefix of the domains of a given registry's tools: they are never held out."""

_VERBS = frozenset(
    re.findall(
        r"\w+",
        """
    add analyse analyze annotate answer apply archive assess assign build calculate caption categorise
    categorize check
    classify clean cluster collect combine compare compile compress compute condense convert count create cut
    deduplicate delete describe detect download draw edit encode enhance enlarge estimate evaluate export extract
    fill filter find fix forecast format generate get grade group identify import index insert label list locate
    make map mark mask measure merge mix normalise normalize number optimise optimize order organise organize parse
    pick plan plot predict prepare preprocess print process publish rank rate read recognise recognize record reduce
    remove rename render replace report resize retrieve rewrite rotate run save scan schedule score search segment
    select send separate set sharpen shorten show shrink simulate sort split stack stitch strip subtract sum
    summarise summarize tag test trace track train transcode transcribe transform translate trim turn upload
    upscale validate verify visualise visualize write
    """,
    )
)
"""Verbs with which an alias asks for its tool; other aliases name what it does."""

_GATHERING = frozenset({"application/jsonl", "application/json"})


def specs_of(tools: Iterable[Tool]) -> list[ToolSpec]:
    """All tools of a registry as the generator reads them."""
    return [spec_of(tool) for tool in tools]


def spec_of(tool: Tool) -> ToolSpec:
    """One tool of a registry; where the catalogue has no wording for it, its aliases and description serve."""
    wording = wordings().get(tool.name)
    aliases = tuple(item for item in tool.aliases if not HAN.search(item))
    aliases_zh = tuple(item for item in tool.aliases if HAN.search(item))
    spec = ToolSpec(
        name=tool.name,
        domain=f"{REGISTRY_DOMAIN}.{tool.family}",
        inputs=tuple(
            Entry(port.name, port.type, port.required, many=port.required and port.type in _GATHERING)
            for port in tool.inputs
        ),
        outputs=tuple(_output(port.name, port.type, wording) for port in tool.outputs),
        description=tool.description,
        description_zh=tool.description_zh,
        aliases=aliases,
        aliases_zh=aliases_zh,
        english=(),
        chinese=(),
        noun=tool.name.replace("_", " "),
        noun_zh=aliases_zh[0] if aliases_zh else tool.name.replace("_", " "),
        arguments=tuple(_arguments(tool.arguments, wording)),
    )
    if wording is not None:
        return replace(
            spec,
            english=wording.english,
            chinese=wording.chinese,
            noun=wording.noun,
            noun_zh=wording.noun_zh,
            glue=wording.glue,
            questions=wording.questions,
        )
    return replace(spec, english=phrases_from(spec), chinese=chinese_from(spec))


def phrases_from(spec: ToolSpec) -> tuple[Phrase, ...]:
    """English phrases for a tool of which only names are known."""
    result: list[Phrase] = []
    for alias in spec.aliases:
        verb, _, rest = alias.partition(" ")
        if verb.lower() in _VERBS and rest:
            result.append(Phrase(verb.lower(), rest, "for {in}"))
        else:
            result.append(Phrase("run", alias, "on {in}"))
    verb, _, rest = spec.noun.partition(" ")
    if verb.lower() in _VERBS and rest:
        result.append(Phrase(verb.lower(), rest, "for {in}"))
    else:
        result.append(Phrase("do", spec.noun, "on {in}"))
    return tuple(result)


def chinese_from(spec: ToolSpec) -> tuple[str, ...]:
    """Chinese phrases for a tool of which only names are known."""
    names = spec.aliases_zh or (spec.noun_zh,)
    return tuple(form.replace("{name}", name) for name in names for form in ("对{in}做{name}", "用{in}完成{name}"))


def _output(name: str, media_type: str, wording: Wording | None) -> Output:
    if wording is not None and name in wording.outputs:
        return Output(name, media_type, *wording.outputs[name])
    kind = next((item for item in kinds().values() if media_type in item.media_types), None)
    return Output(name, media_type, name.replace("_", " "), kind.chinese[0].short if kind else name)


def _arguments(schema: Mapping[str, Any], wording: Wording | None) -> Iterable[Argument]:
    required = set(schema.get("required", ()))
    for name, item in schema.get("properties", {}).items():
        kind = item.get("type", "string")
        listed = [str(value) for value in (item.get("enum") or item.get("items", {}).get("enum") or ())]
        low = float(item.get("minimum", item.get("exclusiveMinimum", 1)))
        high = float(item.get("maximum", low + 100))
        worded = wording.arguments.get(name) if wording is not None else None
        spoken = {choice[0]: choice for choice in worded.choices} if worded else {}
        yield Argument(
            name,
            kind if kind in ("integer", "number", "boolean", "array") else "string",
            str(item.get("description", "")),
            tuple(spoken.get(value) or _choice(value, listed) for value in listed),
            worded.low if worded else max(low, 2.0) if high > 2 else low,
            worded.high if worded else min(high, low + 60.0),
            worded.samples if worded else ((), ()),
            name in required and "default" not in item,
            frozenset(spoken),
        )


def _choice(value: str, listed: list[str]) -> tuple[str, str, str]:
    if value in LANGUAGE_NAMES and sum(item in LANGUAGE_NAMES for item in listed) > 1:
        return (value, *LANGUAGE_NAMES[value])
    words = value.replace("_", " ")
    return (value, words, words)
