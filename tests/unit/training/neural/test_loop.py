"""The training loop: it learns, goes on after kill -9 as if nothing had happened, and stops in time."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.unit.model import world
from tomas.errors import DataError
from tomas.model.batch import collate
from tomas.model.config import NeuralConfig
from tomas.model.example import PlanningTarget
from tomas.model.network import PlannerNetwork
from tomas.training.neural.curve import draw_curve
from tomas.training.neural.loop import Progress, _batches, train

_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.unit.training.neural.test_loop import config, fresh
from tests.unit.model import world
from tomas.training.neural.loop import train
import torch
torch.set_num_threads(1)
seen = 0
def report(progress):
    global seen
    seen += 1
    if seen == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
train(fresh(config(own_choice_share=0.5)), world.tokenizer(), world.examples(), valid=world.examples()[:2],
      folder=Path(sys.argv[1]), save_every_s=0.0, report=report)
"""


def config(epochs: int = 4, **settings: object) -> NeuralConfig:
    """Small, with four batches an epoch."""
    small = world.small_config()
    training = small.training.model_copy(update={"epochs": epochs, "batch_size": 2, "patience": 0, **settings})
    return small.model_copy(update={"training": training})


def fresh(settings: NeuralConfig) -> PlannerNetwork:
    """An untrained network, always the same."""
    torch.manual_seed(7)
    return PlannerNetwork(settings)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_losses_fall_and_every_epoch_is_told() -> None:
    told: list[Progress] = []
    done = train(fresh(config(8)), world.tokenizer(), world.examples(), report=told.append)
    assert done.history.train[-1]["total"] < 0.6 * done.history.train[0]["total"]
    assert [len(done.history.train), done.epochs, done.stopped] == [8, 8, "epochs"]
    assert told[-1].share == 1.0
    assert len(told) == 8 * (4 + 1)


@pytest.mark.parametrize("killed_at", [3, 11])
def test_after_kill_9_training_ends_in_the_same_weights(killed_at: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", _KILLED, str(folder), str(killed_at)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    told: list[Progress] = []
    resumed, whole = (fresh(config(own_choice_share=0.5)) for _ in range(2))
    arguments = (world.tokenizer(), world.examples())
    ended = train(resumed, *arguments, valid=world.examples()[:2], folder=folder, report=told.append)
    assert told[0].share > 1 / 16
    assert ended.history == train(whole, *arguments, valid=world.examples()[:2]).history
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, msg=name)
    assert list(folder.iterdir()) == []


def test_several_threads_end_in_the_same_weights_each_time() -> None:
    seen: set[bool] = set()

    def once() -> dict[str, torch.Tensor]:
        network = fresh(config(3, own_choice_share=0.5))
        train(
            network,
            world.tokenizer(),
            world.examples(),
            report=lambda _: seen.add(torch.are_deterministic_algorithms_enabled()),
        )
        return network.state_dict()

    torch.set_num_threads(2)
    first, second = once(), once()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0, msg=name)
    assert seen == {True}
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_state_of_another_run_is_not_taken_up(tmp_path: Path) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            fresh(config()),
            world.tokenizer(),
            world.examples(),
            folder=tmp_path,
            report=lambda progress: stop(progress) if progress.epoch == 2 else None,
        )
    told: list[Progress] = []
    other = config(4, seed=1)
    train(fresh(other), world.tokenizer(), world.examples(), folder=tmp_path, report=told.append)
    assert told[0].epoch == 0


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.json").write_text("{")
    with pytest.raises(DataError, match="Delete"):
        train(fresh(config()), world.tokenizer(), world.examples(), folder=tmp_path)


def test_training_stops_when_what_is_held_out_gets_no_better() -> None:
    # Held out is the contrary of what is taught.
    contrary = [
        replace(item, target=PlanningTarget(refuse=not item.target.refuse), modes=()) for item in world.examples()
    ]
    taught = [item for item in world.examples() if not item.target.refuse]
    settings = config(30, patience=2)
    done = train(fresh(settings), world.tokenizer(), taught, valid=contrary[:3])
    assert done.stopped == "patience"
    assert len(done.history.valid) == done.epochs + 2
    totals = [epoch["total"] for epoch in done.history.valid]
    assert totals.index(min(totals)) == done.epochs - 1


def test_training_ends_in_time() -> None:
    done = train(fresh(config(500)), world.tokenizer(), world.examples(), minutes=0.02)
    assert done.stopped == "minutes"
    assert done.seconds < 30


def test_the_loss_curve_is_drawn(tmp_path: Path) -> None:
    done = train(fresh(config(2)), world.tokenizer(), world.examples(), valid=world.examples()[:2])
    draw_curve(done.history, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(DataError, match="ends in none"):
        draw_curve(done.history, tmp_path / "loss.txt")


def test_frozen_parameters_stay_as_they_are() -> None:
    settings = config(1, strategy="freeze_backbone")
    network = fresh(settings)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train(network, world.tokenizer(), world.examples())
    changed = {name for name, value in network.state_dict().items() if not torch.equal(before[name], value)}
    assert changed
    assert not any(name.startswith("backbone.") for name in changed)


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(DataError, match="no examples"):
        train(fresh(config()), world.tokenizer(), [])


def test_explanations_are_taught_in_a_share_of_the_batches() -> None:
    examples = [
        replace(item, target=replace(item.target, explanation="because it was asked for"))
        for item in world.examples()
    ]
    told: list[Progress] = []
    train(fresh(config(2, explained_share=0.5)), world.tokenizer(), examples, report=told.append)
    means = [progress.losses["text"] for progress in told[:4]]
    assert [means[0] == means[1], means[1] == means[2], means[2] == means[3]] == [True, False, True]
    never = train(fresh(config(1, explained_share=0.0)), world.tokenizer(), examples)
    assert "text" not in never.history.train[0]
    with_words = collate(examples, world.tokenizer(), config())
    without = collate(examples, world.tokenizer(), config(), explanations=False)
    assert without.targets.text.shape[1] == 0
    torch.testing.assert_close(without.targets.gate, with_words.targets.gate)


def test_examples_of_like_length_share_a_batch() -> None:
    lengths = [(place % 7, place % 3) for place in range(100)]
    batches = list(_batches(lengths, 10, seed=0, epoch=0))
    assert sorted(row for batch in batches for row in batch) == list(range(100))
    spreads = [max(lengths[row][0] for row in batch) - min(lengths[row][0] for row in batch) for batch in batches]
    assert max(spreads) <= 1
    assert list(_batches(lengths, 10, seed=0, epoch=0)) == batches
    assert list(_batches(lengths, 10, seed=0, epoch=1)) != batches


def test_what_has_ended_but_is_not_saved_yet_ends_at_once(tmp_path: Path) -> None:
    arguments = (world.tokenizer(), world.examples())
    first = fresh(config(2))
    ended = train(first, *arguments, valid=world.examples()[:2], folder=tmp_path, keep_state=True)
    told: list[Progress] = []
    second = fresh(config(2))
    again = train(second, *arguments, valid=world.examples()[:2], folder=tmp_path, report=told.append)
    assert told == []
    assert again == ended
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=0)
    assert list(tmp_path.iterdir()) == []
