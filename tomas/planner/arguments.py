"""Arguments from a task: schema defaults, listed values, numbers beside their unit, languages, quoted text.

Nothing is invented: a value stands in the task or in the schema, and is refused where the schema refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from tomas.errors import UnboundInput
from tomas.lexicon import LANGUAGES, NOUNS_ZH, NUMBERS_EN, NUMBERS_ZH, UNITS_ZH
from tomas.planner.text import QUOTED, normalise, stem
from tomas.schema import Tool

__all__ = ["bind_arguments"]

_QUOTED = re.compile(QUOTED)
_QUESTION = re.compile(r"[^.!?。！？\n]*[?？]")
_NUMBER_EN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?|\b(?:" + "|".join(NUMBERS_EN) + r"))\s*-?\s*(?P<unit>[a-z]+)(?:\s+(?P<noun>[a-z]+))?"
)
_NUMBER_ZH = re.compile(
    r"(?P<number>\d+(?:\.\d+)?|[一二两三四五六七八九]?十[一二三四五六七八九]?|[一二两三四五六七八九半])\s*"
    r"(?:个)?(?P<unit>" + "|".join(sorted(UNITS_ZH, key=lambda word: (-len(word), word))) + ")"
)
_TOP = re.compile(r"\b(?:top|best|first)\s+(?P<number>\d+)\b|前\s*(?P<number_zh>\d+)")
_UNIT_WORDS = {"x": "times", "fold": "times", "p": "height", "px": "pixel", "s": "second", "sec": "second"} | {
    "double": "times",
    "twice": "times",
}
_TARGET = re.compile(r"(?:\b(?:to|into|in)\s+|[译成为到作]\s*)$")
_SOURCE = re.compile(r"(?:\bfrom\s+|[从由]\s*)$")


def bind_arguments(tool: Tool, task: str, part: str) -> tuple[dict[str, Any], list[str]]:
    """Arguments of one step, valid under the tool's schema, and warnings about values that were not taken.

    :param task: the whole task as it was written.
    :param part: the part of the normalised task that asks for this tool.
    :raises UnboundInput: a required argument has neither a default nor a value in the task.
    """
    properties: Mapping[str, Any] = tool.arguments.get("properties", {})
    arguments = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    warnings: list[str] = []
    numbers = _numbers_for(properties, part)
    for name, schema in properties.items():
        # The part speaks of this tool alone, so it is asked first.
        value = numbers.get(name, _find(name, schema, part))
        if isinstance(value, str) and schema.get("enum") and _ambiguous(tool, name, value, part):
            value = None
        if value is None:
            value = _find(name, schema, task, whole=True)
        if value is None and name in tool.arguments.get("required", []) and "default" not in schema:
            value = _free_text(name, schema, task, part)
        if value is None:
            continue
        fault = next(Draft202012Validator(schema).iter_errors(value), None)
        if fault is None:
            arguments[name] = value
        else:
            warnings.append(f"{tool.name}: {name} = {value!r} in the task was not taken ({fault.message}).")
    _distinct_languages(properties, arguments)
    missing = [name for name in tool.arguments.get("required", []) if name not in arguments]
    if missing:
        raise UnboundInput(
            f"The required argument {missing[0]} of {tool.name} has no value.",
            remedy=f"State it in the task, for example in quotes: {missing[0]} “…”.",
        )
    return arguments, warnings


def _ambiguous(tool: Tool, name: str, value: str, part: str) -> bool:
    """Whether a listed value is also a word for what the tool does ("drop duplicates"), its argument unnamed."""
    spoken = {stem(word) for word in re.findall(r"[a-z]+", " ".join([tool.description, *tool.aliases]).lower())}
    named = {stem(word) for word in name.split("_")} & {stem(word) for word in re.findall(r"[a-z]+", part)}
    return stem(value) in spoken and not named and value not in LANGUAGES


def _find(name: str, schema: Mapping[str, Any], text: str, *, whole: bool = False) -> Any:
    """A value for one argument in ``text``, or None.

    :param whole: the text is the whole task, where a bare word may belong to another tool; only languages
        and quoted text are looked for.
    """
    kind = schema.get("type")
    values = schema.get("enum")
    if values and all(isinstance(value, str) for value in values) and len(set(values) & set(LANGUAGES)) >= 2:
        return _language(name, values, normalise(text))
    if kind == "string" and not values:
        return _labelled(name, text)
    if whole:
        return None
    if kind == "array":
        listed = schema.get("items", {}).get("enum", [])
        found = [value for value in listed if _mentions(text, str(value))]
        return found or None
    if values and all(isinstance(value, str) for value in values):
        found = [value for value in values if _mentions(text, value)]
        return found[0] if len(found) == 1 else None
    return None


def _mentions(text: str, value: str) -> bool:
    """Whether a listed value stands in the text, inflected or as the Chinese word for it."""
    wanted = [stem(word) for word in re.findall(r"[a-z0-9]+", value.lower())]
    words = [stem(word) for word in re.findall(r"[a-z0-9]+", text)]
    if wanted and any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1)):
        return True
    return any(english == value and chinese in text for chinese, english in NOUNS_ZH.items())


def _numbers_for(properties: Mapping[str, Any], text: str) -> dict[str, float | int]:
    """Numbers of the text by the argument that their unit names; one that could mean two arguments is left."""
    numeric = {name: schema for name, schema in properties.items() if schema.get("type") in ("integer", "number")}
    result: dict[str, float | int] = {}
    for value, units in _numbers(text):
        named = [name for name in numeric if units & {stem(word) for word in name.lower().split("_")}]
        described = [
            name
            for name, schema in numeric.items()
            if units & {stem(word) for word in re.findall(r"[a-z]+", str(schema.get("description", "")).lower())}
        ]
        # The argument's own name beats a word of its description; "one" is too often no number at all.
        fitting = named or (described if value != 1.0 else [])
        if len(fitting) == 1 and fitting[0] not in result:
            integral = numeric[fitting[0]]["type"] == "integer" and value.is_integer()
            result[fitting[0]] = int(value) if integral else value
    return result


def _numbers(text: str) -> Iterator[tuple[float, set[str]]]:
    """Numbers of the text with the stems of the words that say what they count."""
    for match in _NUMBER_EN.finditer(text):
        word = match["number"]
        value = NUMBERS_EN[word] if word in NUMBERS_EN else float(word)
        units = {stem(_UNIT_WORDS.get(unit, unit)) for unit in (match["unit"], match["noun"]) if unit}
        yield value, units | ({stem("times")} if word in ("twice", "double", "triple", "quadruple") else set())
    for match in _NUMBER_ZH.finditer(text):
        yield _chinese_number(match["number"]), {stem(UNITS_ZH[match["unit"]])}
    for match in _TOP.finditer(text):
        yield float(match["number"] or match["number_zh"]), {stem("top")}


def _chinese_number(text: str) -> float:
    if text[0].isdigit():
        return float(text)
    if "十" in text:
        tens, _, ones = text.partition("十")
        return 10.0 * NUMBERS_ZH.get(tens, 1.0) + NUMBERS_ZH.get(ones, 0.0)
    return NUMBERS_ZH[text]


def _language(name: str, values: list[str], text: str) -> str | None:
    """A language of the text, for a source or a target argument by what stands before it."""
    source: str | None = None
    target: str | None = None
    for code, place in _languages(text):
        if code not in values:
            continue
        before = text[:place]
        if _TARGET.search(before) and not _SOURCE.search(before):
            target = target or code
        else:
            source = source or code
    if "target" in name or name.startswith("to"):
        return target
    if "source" in name or name.startswith("from"):
        return source
    return target or source


def _languages(text: str) -> list[tuple[str, int]]:
    pair = re.search(r"([英中汉法德日韩俄])译([英中汉法德日韩俄])", text)
    if pair:
        short = {names[-1]: code for code, names in LANGUAGES.items()} | {"中": "zh", "汉": "zh"}
        # The second stands after 译, which marks a target.
        return [(short[pair[1]], 0), (short[pair[2]], pair.start(2))]
    found: list[tuple[str, int]] = []
    for code, names in LANGUAGES.items():
        for language in names:
            if len(language) > 1:
                pattern = rf"\b{language}\b" if language.isascii() else language
                found += [(code, match.start()) for match in re.finditer(pattern, text)]
    return sorted(found, key=lambda item: item[1])


def _distinct_languages(properties: Mapping[str, Any], arguments: dict[str, Any]) -> None:
    """Where the source named is the default target, the target becomes the other of English and Chinese."""
    source, target = arguments.get("source_language"), arguments.get("target_language")
    if source is None or source != target:
        return
    other = "en" if source == "zh" else "zh"
    if other in properties.get("target_language", {}).get("enum", []):
        arguments["target_language"] = other


def _labelled(name: str, text: str) -> str | None:
    """Quoted text that follows the argument's name, in English or Chinese: a title “Spring” → Spring."""
    words = [name.replace("_", " "), *(chinese for chinese, english in NOUNS_ZH.items() if english == name)]
    for word in words:
        match = re.search(rf"{re.escape(word)}\w*\s*(?:is|of|为|是|叫)?\s*[:：]?\s*({QUOTED})", text, re.IGNORECASE)
        if match:
            return match.group(1)[1:-1].strip()
    return None


def _free_text(name: str, schema: Mapping[str, Any], task: str, part: str) -> str | None:
    """A span of the task for a required text: what is quoted, the question asked, or for a question the part."""
    if schema.get("type") != "string":
        return None
    quoted = _QUOTED.search(task)
    if quoted:
        return quoted.group()[1:-1].strip()
    if name in ("question", "query", "prompt", "instruction"):
        asked = _QUESTION.search(task)
        return asked.group().strip() if asked else part.strip()
    return None
