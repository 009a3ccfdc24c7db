"""Values that a task offers for an argument: listed ones, numbers in digits and words, quoted text."""

from __future__ import annotations

import pytest

from tomas.model.example import ArgumentCard
from tomas.model.number_words import number_words
from tomas.model.spans import argument_values


def numbers(task: str) -> list[tuple[str, str]]:
    return [(word.text, task[word.begin : word.end]) for word in number_words(task)]


@pytest.mark.parametrize(
    ("task", "found"),
    [
        ("Summarise the articles in four sentences", [("4", "four")]),
        ("Enlarge it Twice, then take twenty-five frames", [("2", "Twice"), ("25", "twenty-five")]),
        ("A frame every half second, a dozen at most", [("0.5", "half"), ("12", "dozen")]),
        ("Summarise each one in one sentence, one by one", [("1", "one")]),
        ("Detect someone and a threesome in the tenth frame", []),
        ("Double their size and keep the hundred best keywords", [("2", "Double"), ("100", "hundred")]),
        ("用四句话总结，再放大两倍", [("4", "四"), ("2", "两")]),
        ("每隔半秒取一帧，最多二十五帧", [("0.5", "半"), ("1", "一"), ("25", "二十五")]),
        ("分成一百零三类，保留一半", [("103", "一百零三"), ("0.5", "一半")]),
        ("统一格式，写一份报告，第三页十分重要，一些一起处理", []),
        ("取十个关键词", [("10", "十")]),
        ("一二三句", []),
    ],
)
def test_numbers_in_words(task: str, found: list[tuple[str, str]]) -> None:
    assert numbers(task) == found


def values(card: ArgumentCard, task: str) -> list[tuple[str, str]]:
    return [(value.text, task[value.begin : value.end]) for value in argument_values(card, task, 24)][1:]


SENTENCES = ArgumentCard("sentences", "sentences: of the summary", "integer")
EVERY = ArgumentCard("every_s", "every s: seconds between frames", "number")
SCALE = ArgumentCard("scale", "scale", "integer", choices=("2", "3", "4"))


def test_digits_count_in_both_languages_and_stand_in_the_order_of_the_task() -> None:
    assert values(SENTENCES, "In 5 sentences, not four") == [("5", "5"), ("4", "four")]
    assert values(SENTENCES, "总结成5句，不要六句") == [("5", "5"), ("6", "六")]
    assert values(SENTENCES, "v2.5 of A4, in 0.5 s") == []


def test_a_half_is_offered_only_where_a_fraction_may_stand() -> None:
    task = "A frame every half second, two at a time"
    assert values(EVERY, task) == [("0.5", "half"), ("2", "two")]
    assert values(SENTENCES, task) == [("2", "two")]


def test_listed_numbers_are_found_in_words_too() -> None:
    assert values(SCALE, "Enlarge it three times") == [("2", ""), ("3", "three"), ("4", "")]
    assert values(SCALE, "把图放大四倍") == [("2", ""), ("3", ""), ("4", "四")]
    assert values(SCALE, "把图放大3倍") == [("2", ""), ("3", "3"), ("4", "")]


def test_the_time_for_any_task_is_bounded() -> None:
    for task in ("one " * 2000, "一" * 8000, "十" * 8000, "twenty-" * 1000):
        assert len(argument_values(SENTENCES, task, 24)) <= 24
