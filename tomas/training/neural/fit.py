"""From examples to a checkpoint: network, training, calibration, loss curve, and what it was made from."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tomas import __version__
from tomas.errors import DataError
from tomas.model.calibrate import Calibration, calibrate
from tomas.model.checkpoint import MANIFEST, save_checkpoint
from tomas.model.config import NeuralConfig
from tomas.model.example import ToolCard
from tomas.model.lean import lean_on_precedents, plans_worth
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer
from tomas.neural.sketch import with_precedents
from tomas.schema import content_hash, utc_now
from tomas.training.neural.curve import draw_curve
from tomas.training.neural.dataset import Dataset, prior_of
from tomas.training.neural.loop import Progress, Trained, train
from tomas.training.neural.start import continued, untrained
from tomas.training.neural.state import remove_state

__all__ = ["Fitted", "check_place", "fit", "run_folder"]

_TOKENIZER, _BEGUN, _HISTORY, _CURVE = "tokenizer.json", "begun.json", "history.json", "loss.svg"
_LEANS = (0.0, 0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Fitted:
    """A trained planner on disk.

    :ivar folder: of the checkpoint.
    :ivar version: of the checkpoint.
    :ivar curve: picture of the losses; None where matplotlib is not installed.
    :ivar notes: those of its manifest.
    """

    folder: Path
    version: str
    trained: Trained
    calibration: Calibration
    curve: Path | None
    notes: dict[str, Any]


def check_place(out: Path) -> None:
    """Refuse early to replace what is no checkpoint.

    :raises DataError: there is something else.
    """
    if out.exists() and not (out / MANIFEST).is_file():
        raise DataError(f"{out} is there and is no checkpoint.", remedy="Name another folder.")


def run_folder(work: Path, config: NeuralConfig, dataset: Dataset, init: Path | None) -> Path:
    """Where a run keeps its state: the same settings, data and start give the same folder."""
    start = None if init is None else str(init.resolve())
    return work / "runs" / content_hash([config.model_dump(mode="json"), dataset.digest, start])[:16]


def fit(
    config: NeuralConfig,
    dataset: Dataset,
    cards: Sequence[ToolCard],
    out: Path,
    run: Path,
    *,
    init: Path | None = None,
    resume: bool = True,
    minutes: float | None = None,
    device: str = "cpu",
    recompute: bool = False,
    save_every_s: float = 60.0,
    report: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Fitted:
    """Train a planner and write its checkpoint; an interrupted run with the same folder is taken up.

    :param cards: of the registry, whose texts the tokenizer learns too.
    :param out: folder of the checkpoint; an older one there is replaced as a whole.
    :param run: folder of the state, the history and the picture of the losses.
    :param init: a checkpoint to train further; None starts anew.
    :param resume: false forgets what an interrupted run has reached.
    :param minutes: of wall time for the epochs, as in :func:`~tomas.training.neural.loop.train`.
    :param device: as torch names it.
    :param recompute: as in :func:`~tomas.training.neural.loop.train`.
    :param say: is told what is done when the epochs have ended, which takes minutes.
    :raises ConfigError, DataError, ModelUnavailable: the data is empty, the start cannot be read or trained
        further, or ``out`` is a folder of something else.
    """
    if not dataset.train or not dataset.valid:
        raise DataError(
            f"There are {len(dataset.train)} examples to train on and {len(dataset.valid)} held out.",
            remedy="Give both (training.data, --data, --valid).",
        )
    check_place(out)
    if not resume:
        shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True, exist_ok=True)
    network, tokenizer, parent = _start(config, dataset, cards, run, init)
    begun = _begun(run)
    clock = time.process_time()
    trained = train(
        network.to(device),
        tokenizer,
        dataset.train,
        valid=dataset.valid,
        config=config,
        folder=run,
        minutes=minutes,
        save_every_s=save_every_s,
        keep_state=True,
        recompute=recompute,
        report=report,
    )
    spent = time.process_time() - clock
    prior = prior_of(config.training.data)
    if say is not None:
        say(f"planning the {len(dataset.valid)} held out, to weigh the sketch and calibrate the confidence")
    held = [replace(item, given=with_precedents(prior, item.given)) for item in dataset.valid]
    lean = lean_on_precedents(network, plans_worth(tokenizer, held), _LEANS)
    calibration = calibrate(network, tokenizer, held)
    (run / _HISTORY).write_text(
        json.dumps({"train": trained.history.train, "valid": trained.history.valid}, indent=1), encoding="utf-8"
    )
    curve = None
    if importlib.util.find_spec("matplotlib") is not None:
        curve = run / _CURVE
        draw_curve(trained.history, curve)
    notes = {
        "code_version": __version__,
        "trained_at": begun,
        "strategy": config.training.strategy,
        "seed": config.training.seed,
        "data": {
            "sha256": dataset.digest,
            "train": len(dataset.train),
            "valid": len(dataset.valid),
            "left_out": dataset.left_out,
            "made_cpu_s": round(dataset.made_s, 1),
            "label_cpu_s": round(dataset.label_s, 1),
        },
        "epochs": trained.epochs,
        "stopped": trained.stopped,
        "wall_s": round(trained.seconds, 1),
        "cpu_s_since_last_start": round(spent, 1),
        "threads": torch.get_num_threads(),
        "parent": parent,
        "metrics": _metrics(trained, calibration) | {"lean_on_precedents": lean},
    }
    version = save_checkpoint(out, network, tokenizer, extra=prior.files(), notes=notes)
    remove_state(run)
    return Fitted(out, version, trained, calibration, curve, notes)


def _start(
    config: NeuralConfig, dataset: Dataset, cards: Sequence[ToolCard], run: Path, init: Path | None
) -> tuple[PlannerNetwork, TextTokenizer, str | None]:
    if init is not None:
        network, tokenizer, version = continued(init, config)
        return network, tokenizer, version
    path = run / _TOKENIZER
    fold = config.model.backbone.from_scratch
    known = TextTokenizer.from_json(path.read_text(encoding="utf-8"), fold=fold) if path.is_file() else None
    network, tokenizer = untrained(config, dataset.train, cards, known)
    _write(path, tokenizer.to_json())
    return network, tokenizer, None


def _begun(run: Path) -> str:
    """The instant at which the run was begun, kept over interruptions."""
    path = run / _BEGUN
    if not path.is_file():
        _write(path, json.dumps(utc_now().isoformat()))
    return str(json.loads(path.read_text(encoding="utf-8")))


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.rename(path)


def _metrics(trained: Trained, calibration: Calibration) -> dict[str, float]:
    """Losses on what is held out, of the epoch whose weights are kept, and how well confidence is calibrated."""
    losses = trained.history.valid[trained.epochs - 1]
    found = {f"valid_{name}_loss": value for name, value in losses.items()}
    return found | {"temperature": calibration.temperature, "confidence_error": calibration.error_after}
