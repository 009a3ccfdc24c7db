"""Reading a task: script, normal form, clauses and stages, words and character pairs."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tomas.errors import TaskError
from tomas.lexicon import MEDIA_EN, MEDIA_ZH, STOP_EN, STOP_ZH, UNITS_ZH
from tomas.schema import MAX_TASK_CHARS

__all__ = [
    "QUOTED",
    "Clause",
    "Features",
    "check_task",
    "clauses",
    "detect_language",
    "features",
    "normalise",
    "stem",
]

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LATIN = re.compile(r"[A-Za-z]")
_WORD = re.compile(r"[a-z0-9]+(?:[.'][a-z0-9]+)*")
_HAN_RUN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_ALLOWED_CONTROLS = {"\n", "\r", "\t"}
_INVISIBLE = {"\u200b", "\u200c", "\u200d", "\ufeff", "\u2060"}


def check_task(task: str) -> None:
    """Refuse what is not a task in words.

    :raises TaskError: empty, longer than :data:`MAX_TASK_CHARS`, binary, or without a single letter.
    """
    if len(task) > MAX_TASK_CHARS:
        raise TaskError(
            f"The task has {len(task):,} characters; at most {MAX_TASK_CHARS:,} are read.",
            remedy="Say in a few sentences what to do, and pass documents as inputs.",
        )
    if not task.strip():
        raise TaskError("The task is empty.", remedy="Say what to do, for example: classify these images.")
    for place, char in enumerate(task):
        category = unicodedata.category(char)
        if (category in ("Cc", "Cs", "Co") and char not in _ALLOWED_CONTROLS) or char == "\ufffd":
            raise TaskError(
                f"The task is not text: character {place} is U+{ord(char):04X}.",
                remedy="Pass plain UTF-8 text without control characters.",
            )
    if not any(char.isalpha() for char in task):
        raise TaskError("The task has no words.", remedy="Say what to do, for example: classify these images.")


def normalise(text: str) -> str:
    """NFKC, lower case, straight quotes, no invisible characters, single blanks."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = "".join(char for char in text if char not in _INVISIBLE).replace("\u2019", "'")
    return re.sub(r"\s+", " ", text).strip()


def detect_language(text: str) -> Literal["en", "zh"]:
    """``zh`` when Chinese characters outweigh Latin words (a word counts as two characters), else ``en``."""
    han = len(_HAN.findall(text))
    latin_words = len(re.findall(r"[A-Za-z]+", text))
    return "zh" if han and han >= latin_words * 2 else "en"


QUOTED = r"(?:(?<!\w)\"[^\"]{1,500}\"|“[^”]{1,500}”|「[^」]{1,500}」|《[^》]{1,500}》|(?<!\w)'[^']{1,500}'(?!\w))"
"""Quoted text: data for an argument, never a request for a tool."""

_ENDINGS = (
    "ifications", "ification", "ifiers", "ifier", "ifying", "ified", "ifies", "izations", "ization", "izing",
    "izers", "izer", "ized", "izes", "ize", "itions", "ition", "ations", "ation", "ators", "ator", "ating", "ated",
    "ates", "ate", "ments", "ment", "ings", "ing", "ions", "ion", "ors", "or", "ers", "er", "ies", "ed", "es", "ly",
    "al", "s", "e", "y",
)  # fmt: skip
_KEEP = {"ifications": "if", "ification": "if", "ifiers": "if", "ifier": "if", "ifying": "if", "ified": "if"} | {
    "ifies": "if"
}


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """A crude stem: equal for the usual inflections and derivations of an English word."""
    if len(word) <= 3 or not word.isalpha():
        return word
    if len(word) > 5:
        word = re.sub(r"is(e|ed|es|ing|ation|ations|er|ers)$", r"iz\1", word)
        word = re.sub(r"our(s|ed|ing)?$", r"or\1", word)
    for _ in range(2):
        for ending in _ENDINGS:
            kept = word.removesuffix(ending)
            least = (
                3 if ending in ("s", "e", "ed", "es", "ing", "ies", "y") else 5 if ending in ("ion", "ions") else 4
            )
            if kept != word and len(kept) >= least and not (ending == "s" and kept.endswith("s")):
                word = kept + _KEEP.get(ending, "")
                break
        else:
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "sl":
        word = word[:-1]
    return word


@dataclass(frozen=True)
class Features:
    """What a text says: terms with a meaning, and the kinds of media that it names.

    Terms are English stems, and ``z:`` + one or two Chinese characters.
    """

    terms: frozenset[str]
    media: frozenset[str]


@dataclass(frozen=True)
class Clause:
    """A part of the task that asks for one thing; clauses of a later stage work on what came before."""

    text: str
    stage: int


_MEDIA_STEMS = {stem(word): kind for word, kind in MEDIA_EN.items()}
_STOP_STEMS = STOP_EN | {stem(word) for word in STOP_EN}
_MEDIA_ZH_RE = re.compile("|".join(sorted(MEDIA_ZH, key=lambda word: (-len(word), word))))
_STOP_ZH_RE = re.compile("|".join(sorted(STOP_ZH, key=lambda word: (-len(word), word))))
_UNITS = "|".join(sorted(UNITS_ZH, key=lambda word: (-len(word), word)))
_UNIT_ZH_RE = re.compile(rf"(?:\d|[一二两三四五六七八九十半])\s*(?P<unit>{_UNITS})")


@lru_cache(maxsize=4096)
def features(text: str) -> Features:
    """The features of a normalised text."""
    terms: set[str] = set()
    media: set[str] = set()
    for word in _WORD.findall(text):
        bare = word.removesuffix("'s")
        if bare in _STOP_STEMS or (len(bare) < 2 and not bare.isdigit()):
            continue
        root = stem(bare)
        if root in _MEDIA_STEMS:
            media.add(_MEDIA_STEMS[root])
        elif not bare.isdigit():
            terms.add(root)
    for match in _MEDIA_ZH_RE.finditer(text):
        media.add(MEDIA_ZH[match.group()])
    for match in _UNIT_ZH_RE.finditer(text):
        terms.add(stem(UNITS_ZH[match["unit"]]))
    for run in _HAN_RUN.findall(_STOP_ZH_RE.sub(" ", _MEDIA_ZH_RE.sub(" ", text))):
        terms.update(f"z:{char}" for char in run)
        terms.update(f"z:{run[i : i + 2]}" for i in range(len(run) - 1))
    return Features(frozenset(terms), frozenset(media))


_SEQUENCE = (
    r"\b(?:and )?then\b|\bafter that\b|\bafterwards\b|\bfollowed by\b|\bsubsequently\b|\bnext,"
    r"|\bfinally\b|\blastly\b|然后|接着|随后|之后|最后|接下来|再(?!次|见|生)"
)
_PLAIN = (
    r"[;:.!?](?=\s|$)|,(?!\d)|[;:?!](?=[\u4e00-\u9fff])|[，。；：、！？\n]|\b(?:and|as well as|plus|also|while)\b"
    r"|并且|并(?!行|列|非)|以及|同时|而且|还要"
)
_SPLIT = re.compile(f"(?P<sequence>{_SEQUENCE})|(?P<plain>{_PLAIN})")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|(?<=[!?;])(?=[\u4e00-\u9fff])|(?<=[。！？；])\s*|\n+")
_QUOTED = re.compile(QUOTED)
_BEFORE = re.compile(r"^(?P<second>.+?)\s*,?\s+(?:but\s+)?(?:only\s+)?after\s+(?P<first>\w+ing\b.+)$")
_AFTER_FIRST = re.compile(r"^after\s+(?P<first>\w+ing\b[^,]*),\s*(?P<second>.+)$")
_BEFORE_FIRST = re.compile(r"^(?:在)?(?P<second>[^，,。]+?)之前[，,]?先?(?P<first>.+)$")
_BEFORE_EN = re.compile(r"^before\s+(?P<second>\w+ing\b[^,]*),\s*(?P<first>.+)$")


def clauses(task: str) -> list[Clause]:
    """Split a normalised task; "then" and its like begin a new stage, "after" and "before" are put in order.

    Quoted text is left out: it is a value, not a request.
    """
    result: list[Clause] = []
    stage = 0
    for sentence in _SENTENCE.split(_QUOTED.sub(" ", task)):
        for pattern in (_AFTER_FIRST, _BEFORE, _BEFORE_EN, _BEFORE_FIRST):
            match = pattern.match(sentence.rstrip(".。!！ "))
            if match:
                sentence = f"{match['first']} then {match['second']}"
                break
        begin = 0
        for match in _SPLIT.finditer(sentence):
            piece = sentence[begin : match.start()].strip()
            if piece:
                result.append(Clause(piece, stage))
            if match["sequence"] and result:
                stage = result[-1].stage + 1
            begin = match.end()
        piece = sentence[begin:].strip()
        if piece:
            result.append(Clause(piece, stage))
    return result
