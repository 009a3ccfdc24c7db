"""Where a training run stands, on disk: written as a whole, so that a kill leaves the state before."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tomas.errors import DataError
from tomas.model.network import PlannerNetwork

__all__ = ["History", "TrainingState", "interrupted", "own_tensors", "read_state", "remove_state", "write_state"]

_FOLDER = "state"
_TENSORS, _NUMBERS = "state.safetensors", "state.json"


@dataclass
class History:
    """Mean losses per epoch, by segment; ``valid`` is empty where nothing was held out."""

    train: list[dict[str, float]] = field(default_factory=list)
    valid: list[dict[str, float]] = field(default_factory=list)


@dataclass
class TrainingState:
    """How far a run has come.

    :ivar step: batches done of ``epoch``, which is the one under way.
    :ivar sums: losses summed over those batches, and ``counts``, how many of them held each segment.
    :ivar best: least validation loss, reached after ``best_epoch`` epochs.
    :ivar seconds: wall time spent before this process.
    :ivar stopped: why training has ended; empty while it goes on.
    :ivar key: hash of configuration and data; another run's state is not taken up.
    """

    key: str
    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    best: float | None = None
    best_epoch: int = 0
    seconds: float = 0.0
    stopped: str = ""
    history: History = field(default_factory=History)


def own_tensors(network: PlannerNetwork) -> dict[str, Tensor]:
    """What training changes: trained parameters and buffers, but not the frozen weights of a backbone."""
    named = network.named_parameters(remove_duplicate=False)
    frozen = {name for name, parameter in named if not parameter.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in frozen}


def write_state(
    folder: Path,
    state: TrainingState,
    network: PlannerNetwork,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor] | None,
) -> None:
    """Write everything from which training goes on as if it had not been interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    place, old = folder / f".{_FOLDER}.new", folder / f".{_FOLDER}.old"
    for leftover in (place, old):
        shutil.rmtree(leftover, ignore_errors=True)
    place.mkdir()
    tensors = {f"network.{name}": value for name, value in own_tensors(network).items()}
    if best is not None:
        tensors |= {f"best.{name}": value for name, value in best.items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    tensors["random"] = torch.get_rng_state()
    # Copies: tied weights share memory, which the format refuses.
    save_file(
        {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}, place / _TENSORS
    )
    (place / _NUMBERS).write_text(json.dumps(asdict(state)), encoding="utf-8")
    for path in (place / _TENSORS, place / _NUMBERS):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if (folder / _FOLDER).exists():
        (folder / _FOLDER).rename(old)
    place.rename(folder / _FOLDER)
    shutil.rmtree(old, ignore_errors=True)


def read_state(
    folder: Path, key: str, network: PlannerNetwork, optimizer: torch.optim.Optimizer
) -> tuple[TrainingState, dict[str, Tensor] | None] | None:
    """Take up an interrupted run: fills network, optimizer and torch's generator.

    :return: the state and the best weights so far; None where no run with this key was interrupted.
    :raises DataError: the state is damaged.
    """
    found = _found(folder)
    if found is None:
        return None
    try:
        numbers: dict[str, Any] = json.loads((found / _NUMBERS).read_text(encoding="utf-8"))
        if numbers["key"] != key:
            return None
        tensors = load_file(found / _TENSORS)
        history = History(**numbers.pop("history"))
        state = TrainingState(**numbers, history=history)
        own = _under("network.", tensors)
        if own.keys() != own_tensors(network).keys():
            raise ValueError("its tensors are not those of this network")  # noqa: TRY301  (named below)
        network.load_state_dict(own, strict=False)
        stored = optimizer.state_dict()
        values: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            number, _, what = name.partition(".")
            values.setdefault(int(number), {})[what] = value
        optimizer.load_state_dict({"state": values, "param_groups": stored["param_groups"]})
        torch.set_rng_state(tensors["random"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"The state of an interrupted training in {found} cannot be read: {error}.",
            remedy=f"Delete {found} to train from the start.",
        ) from None
    return state, _under("best.", tensors) or None


def interrupted(folder: Path) -> bool:
    """Whether a run was interrupted there."""
    return _found(folder) is not None


def remove_state(folder: Path) -> None:
    """Forget a run that has ended."""
    for name in (_FOLDER, f".{_FOLDER}.new", f".{_FOLDER}.old"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _found(folder: Path) -> Path | None:
    # Killed between the two renames: the old state is whole.
    places = (folder / _FOLDER, folder / f".{_FOLDER}.old")
    return next((place for place in places if place.exists()), None)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
