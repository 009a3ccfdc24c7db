"""Phrasing families in English: ways to put the same steps into a request."""

from __future__ import annotations

import re
from collections.abc import Callable

from tomas.training.generate.english import English, Form, sentence
from tomas.training.generate.grammar import capital, is_plural, join

__all__ = ["FAMILIES_EN"]

_NEXT_INLINE = (", then ", " and then ", ", and then ", " and ", ", after that ", "; then ", ", next ")
_BESIDE_INLINE = (
    " and ",
    ", and also ",
    ", plus ",
    "; also ",
    ", and separately ",
    ", and at the same time ",
    ", and ",
)
_NEXT_OPEN = ("Then", "After that,", "Next,", "Afterwards,", "Once that is done,", "When that's finished,", "Then")
_BESIDE_OPEN = (
    "Also", "Separately,", "In parallel,", "Besides that,", "On top of that,", "Independently of that,",
    "Apart from that,",
)  # fmt: skip
_LAST_OPEN = ("Finally,", "Lastly,", "At the end,", "To finish,", "As the last step,")

_CONTEXTS = (
    "We got {x} from a partner and nobody has looked at them yet.",
    "{X} have been piling up since Monday.",
    "I was handed {x} this morning.",
    "Our team has to deal with {x} before the meeting.",
    "My manager asked about {x} again.",
    "There are a few hundred {s} waiting on the share.",
    "We have been collecting {x} for the quarterly review.",
    "A customer sent {x} and wants an answer this week.",
    "I'm preparing a talk about {x}.",
    "For the audit we have to go through {x}.",
    "{X} arrived last night.",
    "I'm new here and inherited {x}.",
)
_CLOSERS = (
    "Thanks!", "Thank you.", "No rush.", "I need it by Friday.", "The deadline is tonight.",
    "Keep the originals as they are.", "It's for the weekly review.", "That's all.", "Cheers", "Much appreciated!",
    "Let me know when it's done.", "It runs every night.", "There are about 4,000 of them.",
)  # fmt: skip


def _body(
    talk: English,
    *,
    form: Form = "base",
    first: str = "",
    again: tuple[str, ...] = ("",),
    longest: int = 3,
    steps: list[int] | None = None,
) -> list[str]:
    """The steps as sentences without full stops.

    :param first: how the first sentence begins, before its clause.
    :param again: how others may begin, after their connective.
    :param longest: most clauses in a sentence.
    """
    result: list[str] = []
    order = talk.story.order if steps is None else steps
    room = 0
    for place, step in enumerate(order):
        relation = talk.relation(step)
        clause = talk.clause(step, form)
        last = place == len(order) - 1 and place > 1
        if room > 0 and relation != "later":
            mark = talk.rng.choice(_NEXT_INLINE if relation == "next" else _BESIDE_INLINE)
            if last and talk.rng.random() < 0.3:
                mark = talk.rng.choice((", and finally ", " and finally "))
            result[-1] += mark + clause
            room -= 1
            continue
        if not result:
            result.append(f"{first} {clause}".strip())
        else:
            opener = talk.rng.choice(
                _LAST_OPEN
                if last and talk.rng.random() < 0.4
                else _NEXT_OPEN
                if relation == "next"
                else (*_BESIDE_OPEN, "")
                if relation == "beside"
                else (*_NEXT_OPEN[:4], "")
            )
            result.append(" ".join(part for part in (opener, talk.rng.choice(again), clause) if part))
        room = talk.rng.choice((0, 1, 1, 2))
        room = min(room, longest - 1)
    return result


def _text(sentences: list[str], mark: str = ".") -> str:
    return " ".join(sentence(item, mark) for item in sentences)


def _plain(talk: English) -> str:
    return _text(_body(talk))


def _polite(talk: English) -> str:
    opening = talk.rng.choice(
        ("please", "please", "could you please", "would you kindly", "kindly", "if you have a moment, please")
    )
    body = _body(talk, first=opening, again=("", "please", "please"))
    mark = "?" if opening.startswith(("could", "would")) else "."
    return " ".join([sentence(body[0], mark), *(sentence(item) for item in body[1:])])


def _question(talk: English) -> str:
    opening = talk.rng.choice(
        (
            "can you",
            "could you",
            "would you",
            "is it possible to",
            "can somebody",
            "could we",
            "how do I",
            "can TOMAS",
            "any chance you can",
            "can I get you to",
        )
    )
    body = _body(talk, first=opening)
    return " ".join([sentence(body[0], "?"), *(sentence(item) for item in body[1:])])


def _wish(talk: English) -> str:
    opening = talk.rng.choice(
        (
            "I want to",
            "I'd like to",
            "I need to",
            "we need to",
            "we want to",
            "we have to",
            "I have to",
            "my plan is to",
            "the idea is to",
            "help me",
            "I'd like you to",
            "let's",
            "time to",
            "our goal is to",
            "you should",
        )
    )
    return _text(_body(talk, first=opening))


def _narrative(talk: English) -> str:
    given = [item for step in talk.story.order for item in talk.story.sources(step) if item.step < 0]
    intro = ""
    if given:
        item = given[0]
        noun = talk.noun(item)
        named = talk.long(item)
        talk.named.add(item)
        contexts = [
            text
            for text in _CONTEXTS
            if is_plural(noun.short) or not re.search(r"\{s\}|have been piling|them", text)
        ]
        intro = talk.rng.choice(contexts).format(x=named, X=capital(named), s=noun.short)
    opening = talk.rng.choice(
        ("please", "I need to", "we'd like to", "what has to happen:", "now I want to", "so", "")
    )
    return f"{intro} {_text(_body(talk, first=opening))}".strip()


def _goal(talk: English) -> str:
    outs = [f"the {talk.tool(step).outputs[0].english}" for step in talk.story.leaves()]
    wish = talk.rng.choice(
        (
            "what I need in the end is {x}",
            "I'm after {x}",
            "the goal is {x}",
            "I want to end up with {x}",
            "we need {x} for the meeting",
            "the deliverable is {x}",
            "please get me {x}",
        )
    ).format(x=join(outs[:3]))
    bridge = talk.rng.choice(("to get there,", "so", "for that,", "that means:", "the way there:", ""))
    return f"{sentence(wish)} {_text(_body(talk, first=bridge))}"


def _terse(talk: English) -> str:
    mark = talk.rng.choice(("; ", ", ", " -> ", " / ", " > ", "\n"))
    clauses = []
    for step in talk.story.order:
        clause = talk.clause(step, "base", pronouns=False)
        clauses.append(clause if talk.rng.random() < 0.5 else clause.replace(" the ", " ").replace(" these ", " "))
    return mark.join(clauses)


def _nouns(talk: English) -> str:
    clauses = [talk.clause(step, "noun") for step in talk.story.order]
    frame = talk.rng.choice(("{x}", "{x}", "{x} please", "need {x}", "run {x}", "I need {x}", "todo: {x}"))
    chained = talk.rng.random() < 0.5
    return capital(frame.format(x=", then ".join(clauses) if chained else join(clauses, "and then")))


def _passive(talk: English) -> str:
    sentences = []
    for place, step in enumerate(talk.story.order):
        relation = talk.relation(step)
        clause = talk.clause(step, "passive")
        active = not any(f" {word} " in clause for word in ("be",))
        lead = (
            ""
            if not place
            else talk.rng.choice(_NEXT_OPEN[:4] if relation == "next" else ("Also,", "In addition,", ""))
        )
        sentences.append(f"{lead} {'please ' if active else ''}{clause}".strip())
    return _text(sentences)


def _enumerated(talk: English) -> str:
    style = talk.rng.choice(("1.", "1)", "-", "words", "step"))
    words = ["first", "second", "third", "fourth", "fifth"]
    lines = []
    for place, step in enumerate(talk.story.order):
        clause = talk.clause(step)
        last = place == len(talk.story.order) - 1
        if style == "words":
            word = "finally" if last and place else words[place] if place < 5 else "then"
            lines.append(sentence(f"{word}, {clause}"))
        elif style == "step":
            lines.append(sentence(f"step {place + 1}: {clause}"))
        else:
            lines.append(f"{style.replace('1', str(place + 1))} {capital(clause)}")
    lead = talk.rng.choice(("", "", "To do:\n", "Please do the following:\n", "The pipeline:\n"))
    return " ".join(lines) if style in ("words", "step") else lead + "\n".join(lines)


def _inverted(talk: English) -> str:
    """Some steps are said before the one they wait for."""
    sentences: list[str] = []
    steps = list(talk.story.order)
    spoken: list[int] = []
    while steps:
        step = steps.pop(0)
        after = next(
            (
                other
                for other in steps[:1]
                if talk.story.parents(other) <= {step, *spoken} and step in talk.story.parents(other)
            ),
            None,
        )
        if after is not None and talk.rng.random() < 0.75:
            steps.remove(after)
            if talk.rng.random() < 0.5:
                later = talk.clause(after, pronouns=False)
                sooner = talk.clause(step, "base", pronouns=False)
                sentences.append(talk.rng.choice((f"before you {later}, {sooner}", f"before we {later}, {sooner}")))
            else:
                later = talk.clause(after, pronouns=False)
                sooner = talk.clause(step, "gerund", pronouns=False)
                sentences.append(
                    talk.rng.choice(
                        (
                            f"{later}, but only after {sooner}",
                            f"{later} after {sooner}",
                            f"{later} once you are done {sooner}",
                        )
                    )
                )
            spoken += [after, step]
        else:
            sentences.append(
                f"{'' if not spoken else talk.rng.choice(('also', '', 'then'))} {talk.clause(step)}".strip()
            )
            spoken.append(step)
    talk.story.order = spoken
    return _text(sentences)


def _gerunds(talk: English) -> str:
    clauses = [talk.clause(step, "gerund") for step in talk.story.order]
    frame = talk.rng.choice(
        ("this is about {x}", "the job: {x}", "the task consists of {x}", "start with {x}",
         "we are talking about {x}",          "what about {x}?",
         "it comes down to {x}")
    )  # fmt: skip
    return _text([frame.format(x=join(clauses, "and finally" if len(clauses) > 2 else "and then"))])


def _deliverables(talk: English) -> str:
    """Parallel wishes are counted first."""
    count = len(talk.story.order)
    words = ["one thing", "two things", "three things", "four things", "five things"]
    lead = f"I need {words[count - 1]}:" if count <= 5 else "several things are needed:"
    clauses = [talk.clause(step) for step in talk.story.order]
    return f"{capital(lead)} {join(clauses)}."


def _asking(talk: English) -> str:
    """Questions that the tools answer."""
    asked = [talk.question(step) for step in talk.story.order]
    lead = ("and ", "also, ", "then ", "", "")
    return " ".join(
        sentence(f"{talk.rng.choice(lead) if place else ''}{text}", "?") for place, text in enumerate(asked)
    )


def _results(talk: English) -> str:
    """Only what is wanted, by what it is made of."""
    wanted = join([talk.result(step) for step in talk.story.leaves()])
    talk.story.order = list(talk.said)
    frame = talk.rng.choice(
        (
            "I need {x}",
            "please send me {x}",
            "give me {x}",
            "can I have {x}?",
            "we want {x}",
            "get me {x}",
            "{x}, please",
            "show me {x}",
            "I'd like {x}",
        )
    )
    return _text([frame.format(x=wanted)])


FAMILIES_EN: dict[str, Callable[[English], str]] = {
    "plain": _plain, "polite": _polite, "question": _question, "wish": _wish, "narrative": _narrative,
    "goal": _goal, "terse": _terse, "nouns": _nouns, "passive": _passive, "enumerated": _enumerated,
    "inverted": _inverted, "gerunds": _gerunds, "deliverables": _deliverables, "asking": _asking,
    "results": _results,
}  # fmt: skip
"""Families by name; each tells a story once."""

CLOSERS_EN = _CLOSERS
