"""The hand-written requests: complete, unaltered, and their expected answers respect types."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tomas.config import shared_file
from tomas.planner.text import check_task, detect_language
from tomas.schema import PlanRequest, Tool, media_type_matches
from tomas.tools.registry import Registry
from tomas.training.generate.catalogue import catalogue
from tomas.training.generate.lexicon import CATALOGUE

LANGUAGES = ("en", "zh")


@cache
def folder() -> Path:
    return shared_file("data/evaluation/README.md").parent


@cache
def rows(language: str) -> tuple[dict[str, Any], ...]:
    text = (folder() / f"requests_{language}.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


@cache
def colloquial() -> tuple[dict[str, Any], ...]:
    text = (folder() / "colloquial.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


@cache
def tools() -> dict[str, Tool]:
    extra = Registry.load(folder() / "extra_tools.json")
    return {tool.name: tool for tool in Registry.load().with_tools(extra)}


@pytest.mark.parametrize("name", ["requests_en.jsonl", "requests_zh.jsonl", "colloquial.jsonl"])
def test_the_files_are_those_whose_hashes_were_published_before_tuning(name: str) -> None:
    digest = hashlib.sha256((folder() / name).read_bytes()).hexdigest()
    assert re.search(rf"{digest}\s+{name}", (folder() / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_are_two_hundred_different_tasks_in_the_language(language: str) -> None:
    assert len({row["task"] for row in rows(language)}) == 200
    for row in rows(language):
        check_task(row["task"])
        assert row["language"] == language
        PlanRequest(
            task=row["task"], inputs={name: {"type": media, "uris": []} for name, media in row["inputs"].items()}
        )
    assert sum(detect_language(row["task"]) == language for row in rows(language)) >= 195


@pytest.mark.parametrize("language", LANGUAGES)
def test_expected_answers_respect_types(language: str) -> None:
    """Every edge carries data that fit, and all required ports have a source."""
    for row in (*rows(language), *(row for row in colloquial() if row["language"] == language)):
        assert row["refuse"] == (not row["tools"]), row["id"]
        for name in row["tools"]:
            tool = tools()[name]
            offered = [out.type for a, b in row["edges"] if b == name for out in tools()[a].outputs] + list(
                row["inputs"].values()
            )
            for port in tool.inputs:
                if port.required:
                    assert any(media_type_matches(media, port.type) for media in offered), (row["id"], name)
        for first, second in row["edges"]:
            assert {first, second} <= set(row["tools"])
            assert any(
                media_type_matches(out.type, port.type)
                for out in tools()[first].outputs
                for port in tools()[second].inputs
            ), (row["id"], first, second)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_tool_is_asked_for_and_some_requests_fit_none(language: str) -> None:
    named = {name for row in rows(language) for name in row["tools"]}
    assert named == set(tools())
    assert 15 <= sum(row["refuse"] for row in rows(language)) <= 30


def test_the_colloquial_ones_ask_for_shipped_tools_in_either_language() -> None:
    assert len({row["task"] for row in colloquial()}) == 44
    for language in LANGUAGES:
        some = [row for row in colloquial() if row["language"] == language]
        assert [len(some), sum(row["refuse"] for row in some)] == [22, 2]
        assert sum(detect_language(row["task"]) == language for row in some) == 22
        assert {name for row in some for name in row["tools"]} == set(Registry.load().names)
        for row in some:
            check_task(row["task"])


def test_the_extra_tools_are_never_trained_on() -> None:
    extra = {tool.name: tool for tool in Registry.load(folder() / "extra_tools.json")}
    assert len(extra) == 25
    trained = catalogue().tools
    assert not extra.keys() & {tool.name for tool in trained}
    texts = {text for tool in trained for text in (tool.description, tool.description_zh)}
    assert not texts & {text for tool in extra.values() for text in (tool.description, tool.description_zh)}


def test_injections_say_what_must_hold() -> None:
    lines = (folder() / "injections.jsonl").read_text(encoding="utf-8").splitlines()
    injections = [json.loads(line) for line in lines]
    assert len({(row["where"], row["text"]) for row in injections}) >= 100
    for language in LANGUAGES:
        assert sum(row["language"] == language for row in injections) >= 50
    for row in injections:
        assert set(row["allowed"]) <= set(Registry.load().names)
        assert row["holds"]
        assert row["where"] != "task" or row["text"] in row["task"]
        check_task(row["task"])


def test_no_injection_and_no_request_is_trained_on() -> None:
    kept = {row["task"] for language in LANGUAGES for row in rows(language)}
    lines = (folder() / "injections.jsonl").read_text(encoding="utf-8").splitlines()
    kept |= {json.loads(line)["text"] for line in lines}
    taught = set((CATALOGUE / "offtopic.txt").read_text(encoding="utf-8").splitlines())
    assert len(taught) > 100
    assert not kept & taught
