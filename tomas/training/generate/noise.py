"""What requests carry besides the request: closing words, slips of the keys, attempts at steering the planner."""

from __future__ import annotations

import re
from functools import cache
from random import Random
from typing import Literal

from tomas.errors import DataError
from tomas.training.generate.chinese import CLOSERS_ZH
from tomas.training.generate.families_en import CLOSERS_EN
from tomas.training.generate.lexicon import CATALOGUE

__all__ = ["closed", "injected", "off_topic", "opened", "purposed", "slips"]

_QUOTES = re.compile(r"([\"“][^\"”]*[\"”])")
_WORD = re.compile(r"[A-Za-z]{6,}")
_HOMOPHONES = {"在": "再", "再": "在", "做": "作", "的": "得", "帧": "针", "账": "帐", "像": "象"}


@cache
def _lines(section: str) -> tuple[str, ...]:
    path = CATALOGUE / "offtopic.txt"
    found: dict[str, list[str]] = {}
    current = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            current = line[3:].strip()
        elif line.strip() and not line.startswith("#"):
            found.setdefault(current, []).append(line.strip())
    if section not in found:
        raise DataError(f"{path.name} has no section {section}.", remedy="Add it: ## " + section)
    return tuple(found[section])


def off_topic(language: Literal["en", "zh"], rng: Random) -> str:
    """Small talk, questions and orders that no tool serves."""
    return rng.choice(_lines(f"talk {language}"))


def injected(task: str, language: Literal["en", "zh"], rng: Random) -> str:
    """The task with an attempt at steering the planner before or after it; alone where the task is empty."""
    line = rng.choice(_lines(f"injection {language}"))
    if not task:
        return line
    return f"{task} {line}" if rng.random() < 0.7 else f"{line} {task}"


def closed(task: str, language: Literal["en", "zh"], rng: Random) -> str:
    """The task with a closing remark."""
    closer = rng.choice(CLOSERS_EN if language == "en" else CLOSERS_ZH)
    if language == "zh":
        return f"{task}{'' if task[-1:] in '。？！' else '，'}{closer}"
    return f"{task}{'' if task[-1:] in '.?!' else '.'} {closer}"


def opened(task: str, language: Literal["en", "zh"], rng: Random) -> str:
    """The task after a sentence on who asks, or why."""
    return rng.choice(_lines(f"opening {language}")) + (" " if language == "en" else "") + task


def purposed(task: str, language: Literal["en", "zh"], rng: Random) -> str:
    """The task with what the results are for, at its end."""
    bare = task.rstrip(".。 ")
    if bare[-1:] in '?？!！"”':
        return task
    end = ("." if task.endswith(".") else "") if language == "en" else ("。" if task.endswith("。") else "")
    return f"{bare}{', ' if language == 'en' else '，'}{rng.choice(_lines(f'purpose {language}'))}{end}"


def slips(task: str, language: Literal["en", "zh"], rng: Random) -> str:
    """One or two slips of the keys outside quoted text; sometimes no capitals, or no full stop."""
    roll = rng.random()
    if roll < 0.35:
        return task.lower() if '"' not in task else task.rstrip(".。")
    if roll < 0.5:
        return task.rstrip(".。")
    parts = _QUOTES.split(task)
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(0, len(parts), 2)
        parts[place] = (_slip_en if language == "en" else _slip_zh)(parts[place], rng)
    return "".join(parts)


def _slip_en(text: str, rng: Random) -> str:
    words = list(_WORD.finditer(text))
    if not words:
        return text
    match = rng.choice(words)
    word = match.group()
    at = rng.randrange(1, len(word) - 2)
    changed = rng.choice(
        (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
        )
    )
    return text[: match.start()] + changed + text[match.end() :]


def _slip_zh(text: str, rng: Random) -> str:
    places = [place for place, char in enumerate(text) if char in _HOMOPHONES]
    if not places:
        return text
    at = rng.choice(places)
    return text[:at] + _HOMOPHONES[text[at]] + text[at + 1 :]
