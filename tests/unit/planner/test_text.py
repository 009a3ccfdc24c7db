"""Reading a task: language, stems, clauses and stages, media."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.errors import TaskError
from tomas.planner.text import check_task, clauses, detect_language, features, normalise, stem


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Classify the images", "en"),
        ("对一批图片进行分类", "zh"),
        ("把avi格式的录像转成mp4", "zh"),
        ("Translate “你好” into French for the customers", "en"),
        ("用 OCR 识别图片里的文字", "zh"),
        ("123", "en"),
    ],
)
def test_language(text: str, language: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize(
    "words",
    [
        ("classify", "classifies", "classified", "classifying", "classification", "classifier"),
        ("detect", "detects", "detecting", "detection", "detector"),
        ("translate", "translated", "translating", "translation", "translator"),
        ("summarise", "summarize", "summarization", "summarising"),
        ("caption", "captions", "captioning"),
        ("resize", "resizing", "resized"),
        ("cluster", "clusters", "clustering"),
        ("keyword", "keywords"),
    ],
)
def test_inflections_share_a_stem(words: tuple[str, ...]) -> None:
    assert len({stem(word) for word in words}) == 1


def test_then_begins_a_stage() -> None:
    parts = clauses(normalise("Resize the images, then detect faces and find duplicates. Finally write a report."))
    assert [(part.text, part.stage) for part in parts] == [
        ("resize the images", 0),
        ("detect faces", 1),
        ("find duplicates", 1),
        ("write a report", 2),
    ]


def test_chinese_clauses() -> None:
    parts = clauses(normalise("先转写录音，然后提取关键词、分析情感，最后生成报告。"))
    assert [part.stage for part in parts] == [0, 1, 1, 2]


def test_decimal_numbers_and_dots_inside_words_do_not_split() -> None:
    assert len(clauses(normalise("Extract frames every 2.5 seconds at H.264"))) == 1


def test_media_are_told_from_meaning() -> None:
    found = features(normalise("把录音整理成文字"))
    assert found.media == {"audio", "text"}
    assert "z:整理" in found.terms
    assert features("transcribe these recordings").media == {"audio"}


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        check_task(text)
    except TaskError:
        return
    task = normalise(text)
    detect_language(task)
    for part in clauses(task):
        assert part.text.strip()
        features(part.text)
