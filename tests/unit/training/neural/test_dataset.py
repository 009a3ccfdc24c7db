"""Examples to train on: the same whoever makes them, made once, never shared with what is held out."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tomas.errors import DataError
from tomas.model.config import DataConfig, LimitsConfig
from tomas.model.prior import LexicalPrior
from tomas.schema import Tool
from tomas.tools.registry import Registry
from tomas.training.generate import read_examples, split_of, write_examples
from tomas.training.neural import dataset as room
from tomas.training.neural.dataset import Dataset, Making, fitting, generated, given_data

CONFIG = DataConfig(count=30, valid=8, seed=3, labelled_share=0.5)
LIMITS = LimitsConfig()


@pytest.fixture(scope="module")
def tools() -> list[Tool]:
    return list(Registry.load())


@pytest.fixture(scope="module")
def made(tools: list[Tool], tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    folder = tmp_path_factory.mktemp("work")
    return generated(CONFIG, tools, LIMITS, folder, workers=1), folder


def test_it_gives_what_was_asked_for(made: tuple[Dataset, Path]) -> None:
    dataset, _ = made
    assert [len(dataset.train), len(dataset.valid), dataset.left_out] == [30, 8, 0]
    assert {split_of(example.group) for example in dataset.train} == {"train"}
    assert {split_of(example.group) for example in dataset.valid} == {"valid"}
    planned = [example for example in dataset.train if example.target.steps]
    labelled = [example for example in planned if example.modes]
    assert 0.25 * len(planned) < len(labelled) < 0.75 * len(planned)
    assert sum(bool(example.modes) for example in dataset.valid) > len(labelled) / len(planned) * len(dataset.valid)
    assert dataset.label_s > 0
    assert dataset.made_s > 0


def test_the_scores_are_those_of_the_prior_that_plans(made: tuple[Dataset, Path]) -> None:
    prior = LexicalPrior()
    for example in made[0].train[:10]:
        given = example.given
        assert given.retrieval.any()
        np.testing.assert_allclose(given.retrieval, prior.scores(given.task, given.candidates), atol=1e-4)


def test_a_second_run_makes_nothing_anew(
    made: tuple[Dataset, Path], tools: list[Tool], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, folder = made
    monkeypatch.setattr(room, "_make", lambda chunk: pytest.fail(f"{chunk.path} is made again"))
    told: list[Making] = []
    again = generated(CONFIG, tools, LIMITS, folder, workers=1, report=told.append)
    assert again.digest == dataset.digest
    assert again.label_s == dataset.label_s
    assert [example.id for example in again.train] == [example.id for example in dataset.train]
    assert [told[-1].done, told[-1].total] == [38, 38]


def test_two_processes_and_an_interruption_give_the_same_examples(
    made: tuple[Dataset, Path], tools: list[Tool], tmp_path: Path
) -> None:
    dataset, folder = made
    shared = generated(CONFIG, tools, LIMITS, tmp_path, workers=2)
    assert shared.digest == dataset.digest
    for path in folder.rglob("*.jsonl.gz"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()
    # Killed before the account was written: that file is made again, from labels that are kept.
    account = next(tmp_path.rglob("train-*.json"))
    account.unlink()
    assert generated(CONFIG, tools, LIMITS, tmp_path, workers=1).digest == dataset.digest


def test_more_examples_are_added_to_those_that_are_there(
    tools: list[Tool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_CHUNK", 10)
    config = CONFIG.model_copy(update={"labelled_share": 0.0, "count": 10})
    generated(config, tools, LIMITS, tmp_path, workers=1)
    first = next(tmp_path.rglob("train-0000000-0000010.jsonl.gz"))
    before = first.stat().st_mtime_ns
    more = generated(config.model_copy(update={"count": 20}), tools, LIMITS, tmp_path, workers=1)
    assert len(more.train) == 20
    assert first.stat().st_mtime_ns == before
    assert len(list(tmp_path.rglob("train-*.jsonl.gz"))) == 2


def test_other_settings_have_examples_of_their_own(made: tuple[Dataset, Path], tools: list[Tool]) -> None:
    dataset, folder = made
    other = generated(CONFIG.model_copy(update={"labelled_share": 0.0}), tools, LIMITS, folder, workers=1)
    assert other.digest != dataset.digest
    assert not any(example.modes for example in other.train)
    assert [e.given.task for e in other.train] == [e.given.task for e in dataset.train]


def test_what_the_model_cannot_read_is_left_out(made: tuple[Dataset, Path]) -> None:
    examples = made[0].train
    small = LIMITS.model_copy(update={"max_steps": 2})
    kept = list(fitting(examples, small))
    assert 0 < len(kept) < len(examples)
    assert all(len(example.target.steps) <= 2 for example in kept)


def test_files_are_read_with_the_priors_scores(made: tuple[Dataset, Path], tmp_path: Path) -> None:
    blank = [
        replace(example, given=replace(example.given, retrieval=np.zeros_like(example.given.retrieval)))
        for example in made[0].train
    ]
    train, valid = tmp_path / "train.jsonl", tmp_path / "valid.jsonl.gz"
    write_examples(blank[:20], train)
    write_examples(blank[20:], valid)
    found = given_data(train, valid, LexicalPrior(), LIMITS)
    assert [len(found.train), len(found.valid)] == [20, 10]
    assert all(example.given.retrieval.any() for example in (*found.train, *found.valid))
    train.write_text(train.read_text() + train.read_text().splitlines()[0] + "\n")
    assert given_data(train, valid, LexicalPrior(), LIMITS).digest != found.digest


def test_without_a_second_file_whole_groups_are_held_out(made: tuple[Dataset, Path], tmp_path: Path) -> None:
    path = tmp_path / "both.jsonl"
    write_examples([*made[0].train, *made[0].valid], path)
    found = given_data(path, None, LexicalPrior(), LIMITS)
    assert {example.id for example in found.valid} == {example.id for example in made[0].valid}
    write_examples([replace(example, group="en.one|") for example in made[0].train], path)
    with pytest.raises(DataError, match="--valid"):
        given_data(path, None, LexicalPrior(), LIMITS)


def test_a_folder_that_cannot_be_written_is_named(tools: list[Tool], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be kept in"):
        generated(CONFIG, tools, LIMITS, tmp_path / "file", workers=1)


def test_a_damaged_file_of_examples_is_refused(tools: list[Tool], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"labelled_share": 0.0, "count": 5, "valid": 1})
    generated(config, tools, LIMITS, tmp_path, workers=1)
    path = next(tmp_path.rglob("train-*.jsonl.gz"))
    rows = gzip.decompress(path.read_bytes()).splitlines()
    path.write_bytes(gzip.compress(b"\n".join([*rows[:2], json.dumps({"id": 1}).encode()])))
    with pytest.raises(DataError, match="line 3"):
        generated(config, tools, LIMITS, tmp_path, workers=1)
    assert list(read_examples(next(tmp_path.rglob("valid-*.jsonl.gz"))))
