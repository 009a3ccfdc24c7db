"""Forms of English verbs and nouns, as far as phrases of requests need them."""

from __future__ import annotations

import re

__all__ = ["capital", "gerund", "is_plural", "join", "participle"]

_PARTICIPLES = {
    "begin": "begun", "bring": "brought", "build": "built", "choose": "chosen", "cut": "cut", "dig": "dug",
    "draw": "drawn", "find": "found", "get": "got", "give": "given", "go": "gone", "hold": "held", "keep": "kept",
    "lay": "laid", "leave": "left", "let": "let", "make": "made", "mean": "meant", "pay": "paid", "put": "put",
    "read": "read", "rewrite": "rewritten", "run": "run", "say": "said", "see": "seen", "sell": "sold",
    "send": "sent", "set": "set", "show": "shown", "spell": "spelled", "split": "split", "take": "taken",
    "tell": "told", "think": "thought", "turn": "turned", "undo": "undone", "typeset": "typeset",
    "write": "written", "dim": "dimmed",
}  # fmt: skip
_DOUBLED = frozenset(
    re.findall(
        r"\w+",
        "bin chat chop clip crop cut dim dig drop flag get grab hit let log map mix pin plan plot put rip run scan "
        "embed set ship shop shut slim snap split spot step stop strip sum swap tag tap trim unzip wrap zip",
    )
)


def gerund(verb: str) -> str:
    """``translate`` → ``translating``, ``write down`` → ``writing down``."""
    head, blank, rest = verb.partition(" ")
    if head in _DOUBLED:
        head += head[-1]
    elif head.endswith("ie"):
        head = head[:-2] + "y"
    elif head.endswith("e") and not head.endswith(("ee", "oe", "ye")):
        head = head[:-1]
    return f"{head}ing{blank}{rest}"


def participle(verb: str) -> str:
    """``translate`` → ``translated``, ``write down`` → ``written down``."""
    head, blank, rest = verb.partition(" ")
    if head in _PARTICIPLES:
        head = _PARTICIPLES[head]
    elif head.removeprefix("re") in _PARTICIPLES:
        head = "re" + _PARTICIPLES[head.removeprefix("re")]
    elif head in _DOUBLED:
        head += head[-1] + "ed"
    elif head.endswith("e"):
        head += "d"
    elif head.endswith("y") and head[-2] not in "aeiou":
        head = head[:-1] + "ied"
    else:
        head += "ed"
    return f"{head}{blank}{rest}"


def is_plural(noun: str) -> bool:
    """Whether a noun phrase is a plural: its head is the word before the first preposition."""
    words = noun.split()
    if len(words) > 1 and words[-1].endswith("ed"):
        words = words[:-1]
    head = words[-1]
    for place, word in enumerate(words):
        if word in ("of", "in", "on", "from", "for", "with", "our", "per", "by") and place:
            head = words[place - 1]
            break
    return (head.endswith("s") and not head.endswith(("ss", "sis", "us"))) or head in (
        "footage", "media", "people", "criteria"
    )  # fmt: skip


def join(parts: list[str], word: str = "and") -> str:
    """``a, b and c``."""
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
