"""The language of generated tasks: complete sentences, clear names, every family, sound catalogue files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from tomas.errors import DataError
from tomas.tools.registry import Registry
from tomas.training.generate.catalogue import catalogue, parse_tools, wordings
from tomas.training.generate.chinese import FAMILIES_ZH, Chinese
from tomas.training.generate.english import English
from tomas.training.generate.families_en import FAMILIES_EN
from tomas.training.generate.grammar import gerund, is_plural, join, participle
from tomas.training.generate.registry import specs_of
from tomas.training.generate.split import group_of, split_of, split_of_tool
from tomas.training.generate.story import Story, make_story
from tomas.training.generate.telling import tell
from tomas.training.generate.world import Pool, grow


@cache
def pool() -> Pool:
    return Pool([*specs_of(Registry.load()), *catalogue().tools])


def stories(language: Literal["en", "zh"], count: int) -> Iterator[Story]:
    tools = pool()
    for seed in range(count):
        rng = Random(seed)  # noqa: S311  (no secret)
        yield make_story(grow(tools, rng), language, catalogue().nouns, rng)


@pytest.mark.parametrize("family", sorted(FAMILIES_EN))
def test_english_families_say_every_step_in_whole_sentences(family: str) -> None:
    for story in stories("en", 30):
        task = FAMILIES_EN[family](English(story))
        said = set(range(len(story.world.nodes))) - story.implied
        assert set(story.order) == said
        assert set(story.arguments) == said
        assert not re.search(r"[{}\[\]]|  |\bNone\b| [,.;]|\bthe the\b|\ba the\b", task), task
        assert not re.search(r"\b(of|whether|which) (them|it) (are|is)\b|\bin in\b|\bthem(self)?s\b", task), task
        assert not re.search(r"[\u4e00-\u9fff]", task), task


@pytest.mark.parametrize("family", sorted(FAMILIES_ZH))
@pytest.mark.parametrize("mixed", [False, True])
def test_chinese_families_say_every_step(family: str, mixed: bool) -> None:
    for story in stories("zh", 25):
        task = FAMILIES_ZH[family](Chinese(story, mixed=mixed))
        said = set(range(len(story.world.nodes))) - story.implied
        assert set(story.order) == said
        assert set(story.arguments) == said
        assert not re.search(r"[{}\[\]]|的的|在在|，，|。。|None|，。", task), task
        assert len(re.findall(r"[\u4e00-\u9fff]", task)) >= 3, task


@pytest.mark.parametrize("language", ["en", "zh"])
def test_numbers_and_quoted_texts_that_arguments_take_stand_in_the_task(language: Literal["en", "zh"]) -> None:
    tools, checked = pool(), 0
    for seed in range(200):
        told = tell(tools, catalogue().nouns, language, Random(seed))  # noqa: S311  (no secret)
        for step, values in told.story.arguments.items():
            known = {item.name: item for item in told.world.nodes[step].tool.arguments}
            for name, value in values.items():
                quoted = known[name].kind == "string" and not known[name].choices
                if quoted or (known[name].kind == "integer" and int(value) > 10):
                    assert value in told.task
                    checked += 1
    assert checked > 30


def test_unsaid_steps_stand_right_where_their_result_is_read() -> None:
    seen, tools = 0, Pool(specs_of(Registry.load()))
    for seed in range(150):
        told = tell(tools, catalogue().nouns, "en", Random(seed))  # noqa: S311  (no secret)
        for step in told.story.implied:
            seen += 1
            readers = [other for other, node in enumerate(told.world.nodes) if step in node.parents]
            assert told.order.index(step) < min(told.order.index(reader) for reader in readers)
    assert seen > 10


def test_every_shipped_tool_has_its_own_wording() -> None:
    assert set(wordings()) == set(Registry.load().names)


def test_a_registry_without_wording_is_told_by_its_aliases() -> None:
    tool = Registry.load().get("keyword_extraction").model_copy(update={"name": "kwx"})
    (spec,) = specs_of([tool])
    story = make_story(grow(Pool([spec]), Random(1), 1), "en", {}, Random(1))  # noqa: S311  (no secret)
    task = FAMILIES_EN["plain"](English(story))
    assert any(alias.lower() in task.lower() for alias in (*tool.aliases, "kwx"))


@pytest.mark.parametrize(
    ("verb", "ing", "done"),
    [
        ("translate", "translating", "translated"),
        ("write down", "writing down", "written down"),
        ("cut", "cutting", "cut"),
        ("re-encode", "re-encoding", "re-encoded"),
        ("rebuild", "rebuilding", "rebuilt"),
        ("identify", "identifying", "identified"),
        ("plan", "planning", "planned"),
        ("segment", "segmenting", "segmented"),
    ],
)
def test_forms_of_verbs(verb: str, ing: str, done: str) -> None:
    assert gerund(verb) == ing
    assert participle(verb) == done


def test_plurals_and_lists() -> None:
    assert is_plural("photos from the trip")
    assert not is_plural("report")
    assert not is_plural("sheet music in MIDI")
    assert join(["a", "b", "c"]) == "a, b and c"


def test_malformed_catalogues_are_refused_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "tools_x.txt"
    for text, complaint in [
        ("domain d\ntool t\nbogus x\n", r"tools_x\.txt, line 3: “bogus”"),
        ("tool t\nin a nothing\nd d\nz z\ne do | {in}\nc x\nn a | b\n", "line 2: the kind nothing"),
        ("tool t\nin a text\nz z\ne do | {in}\nc x\nn a | b\n", "0 lines “d”"),
        ("tool t\nin a text\nd d\nz z\nc x\nn a | b\n", "no phrase"),
        ("tool t\nin a text\nd d\nz z\ne do | {in}\nc x\nn a | b\np q whatever\n", "no argument"),
    ]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=complaint):
            parse_tools(path)


def test_splits_are_by_family_and_by_tool() -> None:
    tools = [f"{tool.domain}/{tool.name}" for tool in catalogue().tools]
    by_split = {
        split: [tool for tool in tools if split_of_tool(tool) == split] for split in ("train", "valid", "test")
    }
    assert all(by_split.values())
    trained, held = by_split["train"][0], by_split["test"][0]
    assert split_of(group_of("en.plain", [trained])) == "train"
    assert split_of(group_of("en.goal", [trained])) == "test"
    assert split_of(group_of("en.plain", [trained, held])) == "test"
    assert split_of(group_of("zh.topic", [by_split["valid"][0]])) == "valid"
    assert split_of_tool("registry.vision/anything") == "train"


def test_one_thing_is_spoken_of_in_the_singular() -> None:
    seen = 0
    for story in stories("en", 250):
        task = FAMILIES_EN["plain"](English(story))
        for noun in story.nouns:
            if not is_plural(noun.long) and noun.long in task:
                seen += 1
                assert f"these {noun.short}" not in task
                assert f"the {noun.short} are " not in task
                assert f"each of the {noun.short}" not in task
    assert seen > 20
