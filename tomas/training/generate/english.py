"""English: clauses in the forms that requests use."""

from __future__ import annotations

import re
from typing import Literal

from tomas.training.generate.grammar import capital, gerund, is_plural, join, participle
from tomas.training.generate.lexicon import Noun
from tomas.training.generate.speaker import Speaker
from tomas.training.generate.spec import Phrase
from tomas.training.generate.story import Story, filled
from tomas.training.generate.world import Item

__all__ = ["English", "Form", "sentence"]

Form = Literal["base", "gerund", "passive", "noun"]

_ARTICLES = ("the ", "these ", "all ", "a ", "an ", "my ", "our ")
_DETERMINERS = ("the", "the", "the", "these", "these", "all the", "our", "my", "the attached", "the new")
_OBJECT = re.compile(
    r"(?<!of )\{in\}(?=$|[\[,.;]|\s*\[|"
    r"\s+(in|by|to|into|from|for|at|with|and|as|on|against|out|down|up|so|over|per|under|through|below|after|for)\b)"
)
"""Where the data are an object, and may be called "them": not before a verb, not after "of"."""
_ASKED = re.compile(r"\b(are|do|can|would|is) \{in\}")
_SEVERAL = re.compile(
    r"\b(each|among|which|one|best|all|some) of\b|"
    r"\b(each|among|apart|together|duplicates?|copies|doubles|similar|deduplicate)\b"
)
"""Phrases for several things."""
_POSSESSED = re.compile(r"\b(our|my|the|this|last|in)\b")


class English(Speaker):
    """Clauses in English, one step at a time."""

    def __init__(self, story: Story) -> None:
        super().__init__(story)
        self.everything_said = self.rng.choice(
            ("everything", "all the results", "all of that", "all of it", "the results", "these results")
        )

    def long(self, item: Item) -> str:
        noun = self.story.nouns[item.index]
        if noun.long.startswith(_ARTICLES):
            return noun.long
        determiner = self.rng.choice(_DETERMINERS)
        if _POSSESSED.search(noun.long) and determiner in ("my", "our", "the attached", "the new"):
            determiner = "the"
        if not is_plural(noun.long):
            determiner = {"these": "this", "all the": "the"}.get(determiner, determiner)
        return f"{determiner} {noun.long}"

    def short(self, item: Item) -> str:
        if item.step < 0:
            short = self.story.nouns[item.index].short
            return short if short.startswith(_ARTICLES) else f"the {short}"
        return f"the {self.tool(item.step).outputs[item.index].english}"

    def pronoun(self, item: Item) -> str:
        if item.step < 0:
            return "them" if is_plural(self.story.nouns[item.index].short) else "it"
        plural = is_plural(self.tool(item.step).outputs[item.index].english)
        return self.rng.choice(
            ("them", "them", "the results", "the result") if plural else ("it", "it", "the result")
        )

    def everything(self) -> str:
        return self.everything_said

    def several(self, names: list[str]) -> str:
        return join(names)

    def noun(self, item: Item) -> Noun:
        """The name of a request's input, without article."""
        return self.story.nouns[item.index]

    def clause(self, step: int, form: Form = "base", *, pronouns: bool = True) -> str:
        """One step as a clause without punctuation.

        ``base``: translate the letters; ``gerund``: translating the letters; ``passive``: the letters should be
        translated, where the phrase allows it; ``noun``: translation, with what it works on only where that is not
        what went before.
        """
        tool = self.tool(step)
        if form == "noun":
            return self._noun(step)
        choices = [phrase for phrase in tool.english if self._usable(step, phrase)] or list(tool.english)
        singular = self._singular(step)
        if singular:
            choices = [
                item for item in choices if not _SEVERAL.search(f"{item.verb} {item.object} {item.tail}")
            ] or choices
        if form == "passive":
            choices = [phrase for phrase in choices if _passivable(phrase)] or choices
        if form == "gerund":
            choices = [phrase for phrase in choices if " and " not in f"{phrase.object} {phrase.tail}"] or choices
        phrase = self.rng.choice(choices)
        if singular:
            phrase = Phrase(phrase.verb, _agreeing(phrase.object), _agreeing(phrase.tail))
        words = self.story.values(step, f"{phrase.object} {phrase.tail}")
        nouns = self.nouns(
            step, pronouns=pronouns and bool(_OBJECT.search(f"{phrase.object} {phrase.tail}".strip()))
        )
        if form == "passive" and _passivable(phrase):
            tail = phrase.tail
            subject = phrase.object
            if subject != "{in}" and tail.startswith("of {in}"):
                subject, tail = f"{subject} of {{in}}", tail.removeprefix("of {in}")
            subject = filled(subject, nouns, words)
            subject = {"them": "they", "it": "it"}.get(subject, subject)
            modal = self.rng.choice(("should be", "should be", "must be", "are to be", "need to be"))
            if modal in ("are to be", "need to be") and not is_plural(subject):
                modal = "should be"
            return filled(f"{subject} {modal} {participle(phrase.verb)} {tail}", nouns, words)
        verb = gerund(phrase.verb) if form == "gerund" else phrase.verb
        head, blank, particle = verb.partition(" ")
        if blank and phrase.object == "{in}" and nouns.get("in") in ("them", "it"):
            return filled(f"{head} {{in}} {particle} {phrase.tail}", nouns, words)
        return filled(f"{verb} {phrase.object} {phrase.tail}", nouns, words)

    def question(self, step: int) -> str:
        """One step as a question without its mark, where its tool answers one; else as a request."""
        tool = self.tool(step)
        singular = self._singular(step)
        asked = [text for text in tool.questions[0] if not (singular and _SEVERAL.search(text))]
        plain = all(not items for items in self.story.world.nodes[step].sources[1:])
        if not asked or not plain or self.rng.random() < 0.2:
            return f"{self.rng.choice(('can you', 'could you', 'would you'))} {self.clause(step)}"
        template = self.rng.choice(asked)
        template = _agreeing(template) if singular else template
        words = self.story.values(step, template)
        return filled(
            template,
            self.nouns(step, pronouns=bool(_OBJECT.search(template)) and not _ASKED.search(template)),
            words,
        )

    def result(self, step: int) -> str:
        """A step's result by what it is made of: the keywords of the transcripts of the calls."""
        if step in self.said:
            return self.short(Item(step, 0, ""))
        parts = []
        for item in self.story.sources(step):
            first = item.step < 0 and item not in self.named
            self.named.add(item)
            parts.append(
                self.result(item.step) if item.step >= 0 else self.long(item) if first else self.short(item)
            )
        self.said.append(step)
        self.story.arguments.setdefault(step, {})
        named = self.short(Item(step, 0, ""))
        return f"{named} {self.rng.choice(('of', 'of', 'of', 'from'))} {join(parts)}" if parts else named

    def _singular(self, step: int) -> bool:
        """Whether the first port reads one thing that is called by a singular."""
        items = self.story.sources(step) if self.tool(step).inputs else ()
        if len(items) != 1:
            return False
        item = items[0]
        if item.step < 0:
            return not is_plural(self.story.nouns[item.index].long)
        return not is_plural(self.tool(item.step).outputs[item.index].english)

    def _usable(self, step: int, phrase: Phrase) -> bool:
        """Optional inputs that are bound should be said, by a phrase that has a slot for them."""
        tool = self.tool(step)
        bound = {
            port.name
            for port, items in zip(tool.inputs[1:], self.story.world.nodes[step].sources[1:], strict=False)
            if items
        }
        text = f"{phrase.object} {phrase.tail}"
        return all(f"{{{name}}}" in text for name in bound)

    def _noun(self, step: int) -> str:
        tool = self.tool(step)
        before = list(self.said)
        if any(self.story.world.nodes[step].sources[1:]):
            return self.clause(step, "gerund", pronouns=False)
        relation = self.relation(step)
        self.story.arguments.setdefault(step, {})
        names = self.nouns(step, pronouns=False)
        if relation == "next" and len(self.story.sources(step)) == 1 and before:
            return tool.noun
        word = "from" if tool.gathers else "of"
        return f"{tool.noun} {word} {names['in']}" if "in" in names else tool.noun


def _agreeing(template: str) -> str:
    """A template for one thing: verbs and pronouns that belong to ``{in}`` in the singular."""
    text = (
        re.sub(r"\{in\} are\b", "{in} is", template).replace("are {in}", "is {in}").replace("do {in}", "does {in}")
    )
    if not text.startswith(("what does", "how does", "can ", "which does")):
        text = re.sub(r"\{in\} (show|mean|need|look|stand|cover|affect|bind|use|want|sound)\b", r"{in} \1s", text)
        text = text.replace("{in} have", "{in} has")
    text = re.sub(r"\bthey (\w+)", _it, text)
    return text if "{labels}" in text else re.sub(r"\bthem\b", "it", text)


def _it(match: re.Match[str]) -> str:
    """``they look`` → ``it looks``."""
    verb = match[1]
    return f"it {({'are': 'is', 'were': 'was', 'have': 'has', 'can': 'can'}).get(verb, verb + 's')}"


def _passivable(phrase: Phrase) -> bool:
    """Whether the object may become the subject: "me the gist" and "which of them …" may not."""
    text = f"{phrase.object} {phrase.tail}"
    if re.search(r"\b(and|me|us|what|which|whether|how|who|where|if)\b", text):
        return False
    return phrase.object == "{in}" or phrase.object.startswith(_ARTICLES)


def sentence(text: str, mark: str = ".") -> str:
    """Capital letter and full stop."""
    text = text.strip().rstrip(",;")
    return capital(text) if text.endswith((".", "?", "!")) else f"{capital(text)}{mark}"
