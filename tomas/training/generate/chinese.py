"""Chinese: clauses, and phrasing families."""

from __future__ import annotations

from collections.abc import Callable

from tomas.training.generate.speaker import Speaker
from tomas.training.generate.story import Story, filled
from tomas.training.generate.world import Item

__all__ = ["CLOSERS_ZH", "FAMILIES_ZH", "Chinese"]

_NEXT_INLINE = ("，然后", "，再", "，接着", "，随后", "，之后", "，然后再", "，接下来")
_BESIDE_INLINE = ("，同时", "，另外", "，并且", "，顺便", "，还要", "；另外", "，也")
_NEXT_OPEN = ("然后", "接着", "之后", "接下来", "随后", "完成后", "做完以后")
_BESIDE_OPEN = ("另外，", "同时，", "此外，", "除此之外，", "还有，", "与此同时，", "")
_LAST_OPEN = ("最后", "最后再", "最终")
_CONTEXTS = (
    "合作方发来了{x}，还没人看过。", "手头有{x}要处理。", "我们攒了{x}，准备做季度汇报。", "今天早上收到{x}。",
    "老板催着要{x}的结果。", "客户发来{x}，这周要回复。", "我正在准备关于{x}的分享。",
    "为了审计，需要把{x}过一遍。",
    "刚接手这个项目，拿到了{x}。", "{x}积压了好几天。", "昨晚新到了{x}。", "开会之前要把{x}处理好。",
)  # fmt: skip
_CLOSERS = (
    "谢谢！", "谢谢。", "不着急。", "周五之前要。", "今晚就要用。", "原文件不要动。", "用于周报。", "就这些。",
    "麻烦了。",
    "好了告诉我一声。", "每天晚上跑一次。", "大概四千份。", "辛苦了！",
)  # fmt: skip
_DETERMINERS = ("", "", "这些", "这些", "这批", "这批", "所有", "全部", "我们的", "我的", "新到的", "附件里的")


class Chinese(Speaker):
    """Clauses in Chinese, one step at a time."""

    pronouns = 0.3

    def __init__(self, story: Story, *, mixed: bool = False) -> None:
        """:param mixed: steps are sometimes called by their English names."""
        super().__init__(story)
        self.mixed = mixed
        self.everything_said = self.rng.choice(
            ("以上结果", "所有结果", "这些结果", "上面的结果", "全部结果", "前面的结果")
        )

    def long(self, item: Item) -> str:
        noun = self.story.nouns[item.index].long
        determiner = self.rng.choice(_DETERMINERS)
        if noun.startswith(("这", "那", "本", "上", "我", "新")) or "的" in noun:
            determiner = self.rng.choice(("", "", "这些", "所有"))
            if noun.startswith(("这", "那", "本", "我")):
                determiner = ""
        return f"{determiner}{self._spaced(noun)}" if determiner else noun

    def short(self, item: Item) -> str:
        if item.step < 0:
            return self.story.nouns[item.index].short
        return self.tool(item.step).outputs[item.index].chinese

    def pronoun(self, item: Item) -> str:
        if item.step < 0:
            noun = self.story.nouns[item.index].short
            return "它" if noun.startswith(("这", "那")) else self.rng.choice(("它们", "这些" + noun))
        return self.rng.choice(("结果", "得到的" + self.short(item), "它们", "这些" + self.short(item)))

    def everything(self) -> str:
        return self.everything_said

    def several(self, names: list[str]) -> str:
        return "、".join(names[:-1]) + self.rng.choice(("和", "以及")) + names[-1]

    def clause(self, step: int, *, pronouns: bool = True) -> str:
        """One step as a clause without punctuation."""
        tool = self.tool(step)
        if self.mixed and not self._joined(step) and self.rng.random() < 0.5:
            names = self.nouns(step, pronouns=pronouns)
            self.story.arguments.setdefault(step, {})
            form = self.rng.choice(("对{x}跑一下 {n}", "对{x}做 {n}", "给{x}做个 {n}", "用{x}跑 {n}"))
            return form.format(x=names.get("in", "它们"), n=tool.noun)
        phrase = self.rng.choice([item for item in tool.chinese if self._usable(step, item)] or list(tool.chinese))
        words = self.story.values(step, phrase)
        return filled(phrase, self.nouns(step, pronouns=pronouns), words)

    def question(self, step: int) -> str:
        """One step as a question without its mark, where its tool answers one; else as a request."""
        asked = self.tool(step).questions[1]
        if not asked or self._joined(step) or self.rng.random() < 0.2:
            return f"{self.rng.choice(('能不能', '可不可以', '能否'))}{self.clause(step)}"
        template = self.rng.choice(asked)
        words = self.story.values(step, template)
        return filled(template, self.nouns(step), words)

    def result(self, step: int) -> str:
        """A step's result by what it is made of: 来电的转写文字稿的关键词."""
        own = self.tool(step).outputs[0].chinese
        if step in self.said:
            return own
        parts = []
        for item in self.story.sources(step):
            first = item.step < 0 and item not in self.named
            self.named.add(item)
            parts.append(
                self.result(item.step) if item.step >= 0 else self.long(item) if first else self.short(item)
            )
        self.said.append(step)
        self.story.arguments.setdefault(step, {})
        return f"{parts[0] if len(parts) == 1 else self.several(parts)}的{own}" if parts else own

    def noun(self, step: int) -> str:
        """One step as a noun, with what it works on only where that is not what went before."""
        tool = self.tool(step)
        if tool.gathers or self._joined(step):
            return self.clause(step)
        relation = self.relation(step)
        self.story.arguments.setdefault(step, {})
        single = len(self.story.sources(step)) == 1 if tool.inputs else True
        names = self.nouns(step, pronouns=False)
        if relation == "next" and single:
            return tool.noun_zh
        return f"{names['in']}的{tool.noun_zh}" if "in" in names else tool.noun_zh

    def _joined(self, step: int) -> bool:
        """Whether ports after the first are bound, so that more than one name must be said."""
        return any(self.story.world.nodes[step].sources[1:])

    def _usable(self, step: int, phrase: str) -> bool:
        tool = self.tool(step)
        sources = self.story.world.nodes[step].sources[1:]
        return all(
            f"{{{port.name}}}" in phrase for port, items in zip(tool.inputs[1:], sources, strict=False) if items
        )

    @staticmethod
    def _spaced(noun: str) -> str:
        return f" {noun}" if noun[:1].isascii() else noun


def _body(talk: Chinese, *, first: str = "", longest: int = 3) -> list[str]:
    """The steps as sentences without full stops."""
    result: list[str] = []
    room = 0
    order = talk.story.order
    for place, step in enumerate(order):
        relation = talk.relation(step)
        clause = talk.clause(step)
        last = place == len(order) - 1 and place > 1
        if room > 0 and relation != "later":
            mark = talk.rng.choice(_NEXT_INLINE if relation == "next" else _BESIDE_INLINE)
            if last and talk.rng.random() < 0.35:
                mark = talk.rng.choice(("，最后", "，最后再"))
            result[-1] += mark + clause
            room -= 1
            continue
        if not result:
            result.append(first + clause)
        else:
            opener = talk.rng.choice(
                _LAST_OPEN
                if last and talk.rng.random() < 0.5
                else _NEXT_OPEN
                if relation == "next"
                else _BESIDE_OPEN
                if relation == "beside"
                else ("再", "然后", "")
            )
            result.append(opener + clause)
        room = min(talk.rng.choice((0, 1, 2, 2)), longest - 1)
    return result


def _text(sentences: list[str]) -> str:
    return "".join(item if item.endswith(("。", "？", "！")) else f"{item}。" for item in sentences)


def _plain(talk: Chinese) -> str:
    return _text(_body(talk))


def _polite(talk: Chinese) -> str:
    return _text(
        _body(
            talk,
            first=talk.rng.choice(("请", "请", "请帮我", "麻烦", "麻烦帮忙", "劳驾", "请协助", "烦请", "麻烦你")),
        )
    )


def _question(talk: Chinese) -> str:
    opening, end = talk.rng.choice(
        (("能不能", "？"), ("可以", "吗？"), ("能", "吗？"), ("能帮我", "吗？"), ("可不可以", "？"),
         ("有没有办法", "？"),
         ("怎样才能", "？"), ("方便", "吗？"))
    )  # fmt: skip
    body = _body(talk, first=opening)
    body[0] += end
    return _text(body)


def _wish(talk: Chinese) -> str:
    opening = talk.rng.choice(
        (
            "我想",
            "我要",
            "我需要",
            "我们需要",
            "想请你",
            "我打算",
            "帮我",
            "帮忙",
            "需要",
            "希望能",
            "我们准备",
            "得",
            "目标是",
            "现在要",
        )
    )
    return _text(_body(talk, first=opening))


def _narrative(talk: Chinese) -> str:
    given = [item for step in talk.story.order for item in talk.story.sources(step) if item.step < 0]
    intro = ""
    if given:
        noun = talk.story.nouns[given[0].index].long
        bare = "的" not in noun[:4] and not noun.startswith(("这", "那", "新", "第"))
        measured = talk.rng.choice(("一批", "一些", "几百份", "不少", "")) if bare else ""
        talk.named.add(given[0])
        intro = talk.rng.choice(_CONTEXTS).format(x=measured + noun)
    return intro + _text(_body(talk, first=talk.rng.choice(("请", "需要", "想", "希望", "我要", "先", ""))))


def _goal(talk: Chinese) -> str:
    outs = [talk.tool(step).outputs[0].chinese for step in talk.story.leaves()]
    joined = talk.several(outs[:3]) if len(outs[:3]) > 1 else outs[0]
    wish = talk.rng.choice(
        ("最终要得到{x}", "我要的是{x}", "目标是拿到{x}", "最后需要交付{x}", "开会要用{x}", "想要{x}")
    ).format(x=joined)
    bridge = talk.rng.choice(("：", "。做法是", "。为此，", "。具体来说，", "。步骤："))
    return wish + bridge + _text(_body(talk))


def _terse(talk: Chinese) -> str:
    mark = talk.rng.choice(("，", "；", " -> ", "\n", " / ", " "))
    return mark.join(talk.clause(step, pronouns=False) for step in talk.story.order)


def _nouns(talk: Chinese) -> str:
    clauses = [talk.noun(step) for step in talk.story.order]
    frame = talk.rng.choice(("{x}", "做{x}", "需要{x}", "流程：{x}", "{x}，谢谢", "跑一遍：{x}"))
    return frame.format(x=talk.rng.choice(("，然后", "，再做", "、", " → ", "+")).join(clauses))


def _enumerated(talk: Chinese) -> str:
    style = talk.rng.choice(("1. ", "1、", "（1）", "words", "step"))
    numerals = "一二三四五六七八九十"
    lines = []
    for place, step in enumerate(talk.story.order):
        clause = talk.clause(step)
        last = place == len(talk.story.order) - 1
        if style == "words":
            word = "先" if not place else "最后" if last else talk.rng.choice(("再", "然后", "接着"))
            lines.append(f"{word}{clause}")
        elif style == "step":
            lines.append(f"第{numerals[place]}步，{clause}")
        else:
            lines.append(style.replace("1", str(place + 1)) + clause)
    if style == "words":
        return "，".join(lines) + "。"
    if style == "step":
        return "；".join(lines) + "。"
    return talk.rng.choice(("", "", "请完成以下任务：\n", "步骤如下：\n", "待办：\n")) + "\n".join(lines)


def _inverted(talk: Chinese) -> str:
    """Some steps are said before the one they wait for."""
    sentences: list[str] = []
    steps = list(talk.story.order)
    spoken: list[int] = []
    while steps:
        step = steps.pop(0)
        after = (
            steps[0]
            if steps and step in talk.story.parents(steps[0]) and talk.story.parents(steps[0]) <= {step, *spoken}
            else None
        )
        if after is not None and talk.rng.random() < 0.75:
            steps.remove(after)
            later = talk.clause(after, pronouns=False)
            sooner = talk.clause(step, pronouns=False)
            sentences.append(
                talk.rng.choice(
                    (
                        f"{'' if later.startswith('在') else '在'}{later}之前，先{sooner}",
                        f"{later}，不过要先{sooner}",
                        f"{later}之前要{sooner}",
                        f"先别急着{later}，得先{sooner}",
                    )
                )
            )
            spoken += [after, step]
        else:
            sentences.append(("" if not spoken else talk.rng.choice(("另外", "还要", "然后"))) + talk.clause(step))
            spoken.append(step)
    talk.story.order = spoken
    return _text(sentences)


def _deliverables(talk: Chinese) -> str:
    count = "一两三四五六七八九十"[len(talk.story.order) - 1]
    lead = talk.rng.choice((f"有{count}件事要做：", f"需要做{count}件事：", f"帮我做{count}件事："))
    return lead + "；".join(talk.clause(step) for step in talk.story.order) + "。"


def _object_first(talk: Chinese) -> str:
    """The data first, as a topic; then what is to be done."""
    given = [item for step in talk.story.order for item in talk.story.sources(step) if item.step < 0]
    lead = ""
    if given:
        place = talk.rng.choice(("在附件里，", "已经上传，", "放在共享目录了，", "都准备好了，", "给你了，"))
        named = talk.long(given[0])
        lead = named + (
            place.replace("都", "") if named.startswith(("这张", "这段", "这份", "这篇", "那")) else place
        )
        talk.named.add(given[0])
    return lead + _text(_body(talk, first=talk.rng.choice(("请", "帮我", "", "需要"))))


def _asking(talk: Chinese) -> str:
    """Questions that the tools answer."""
    asked = [talk.question(step) for step in talk.story.order]
    return "".join(
        f"{'' if not place else talk.rng.choice(('另外，', '还有，', '那么', ''))}{text}？"
        for place, text in enumerate(asked)
    )


def _results(talk: Chinese) -> str:
    """Only what is wanted, by what it is made of."""
    wanted = [talk.result(step) for step in talk.story.leaves()]
    talk.story.order = list(talk.said)
    frame = talk.rng.choice(
        ("我要{x}", "需要{x}。", "给我{x}。", "请提供{x}", "想看{x}。", "麻烦出一下{x}。", "{x}")
    )
    return frame.format(x=talk.several(wanted) if len(wanted) > 1 else wanted[0])


FAMILIES_ZH: dict[str, Callable[[Chinese], str]] = {
    "plain": _plain, "polite": _polite, "question": _question, "wish": _wish, "narrative": _narrative,
    "goal": _goal, "terse": _terse, "nouns": _nouns, "enumerated": _enumerated, "inverted": _inverted,
    "deliverables": _deliverables, "topic": _object_first, "asking": _asking, "results": _results,
}  # fmt: skip
"""Families by name; each tells a story once."""

CLOSERS_ZH = _CLOSERS
