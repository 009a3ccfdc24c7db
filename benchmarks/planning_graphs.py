"""ComplexTool-Plan's and AsyncHow's formats: graphs over a request's own tools or steps, and a chain as listed."""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.planning_formats import format_of
from benchmarks.planning_metrics import Edges, graph_scores
from benchmarks.planning_split import held_out
from tomas.config import shared_file
from tomas.errors import DataError
from tomas.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tomas.model.config import load_config
from tomas.model.decode import decode
from tomas.model.drafted import Drafted
from tomas.model.example import PlanningExample
from tomas.model.network import PlannerNetwork
from tomas.model.prior import LexicalPrior, Prior, load_prior
from tomas.model.prompt import narrow
from tomas.model.tokenizer import train_tokenizer
from tomas.neural.sketch import with_precedents
from tomas.training.generate.public import read_asynchow, read_complextool
from tomas.training.neural.loop import Progress, train

__all__ = ["measure_graphs"]

_SHIPPED = "data/models/tiny"
_VALID_SHARE = 10


def measure_graphs(
    requests: Path,
    *,
    taught: Path | None,
    hold_out: int | None,
    seed: int,
    checkpoint: Path | None,
    limit: int | None,
    minutes: float,
    epochs: int,
    console: Console,
) -> dict[str, object]:
    """Edge F1 and share of equal graphs, of plans by step decoding and of baselines.

    :param taught: requests of the same format to learn from; None plans with the checkpoint as it is.
    :param hold_out: in place of ``taught``: so many of the requests are planned, the others are learned from.
    :raises DataError: a file is malformed, or nothing in it can be planned.
    """
    examples = _read(requests)
    known = _read(taught) if taught is not None else []
    if hold_out:
        learned, out = held_out([example.given.task for example in examples], hold_out, seed)
        known, examples = [examples[row] for row in learned], [examples[row] for row in out]
    examples = examples[:limit]
    with tempfile.TemporaryDirectory() as name:
        folder = checkpoint or (Path(name) / "planner" if known else shared_file(_SHIPPED))
        if known:
            _fit(known, folder, minutes, epochs, console)
        loaded = load_checkpoint(folder)
        digest = hashlib.sha256(loaded.files["model.safetensors"].read_bytes()).hexdigest()
        # AsyncHow asks how its steps hang together; ComplexTool-Plan's requests need not use all their tools.
        every = format_of(requests) == "asynchow"
        found, ms = _plan(examples, loaded, load_prior(loaded.files), console, every=every)
    right = [_edges(example) for example in examples]
    ours = graph_scores(found, right)
    others = {"chain_as_listed": graph_scores([_listed(example) for example in examples], right)}
    _show(len(examples), {"tomas": ours, **others}, console)
    return {
        **ours,
        "ms_per_request": round(statistics.fmean(ms), 2),
        "weights_sha256": digest,
        "requests": len(examples),
        "trained_on": len(known),
        "zero_shot": not known,
        "baselines": others,
    }


def _read(path: Path) -> list[PlanningExample]:
    found = list(read_complextool(path) if format_of(path) == "complextool" else read_asynchow(path))
    if not found:
        raise DataError(f"{path} holds no requests.", remedy="Name a file of JSON lines.")
    return found


def _fit(examples: Sequence[PlanningExample], folder: Path, minutes: float, epochs: int, console: Console) -> None:
    config = load_config("tiny")
    settings = config.training.model_copy(update={"epochs": epochs, "learning_rate": 1e-3})
    config = config.model_copy(update={"training": settings})
    prior = LexicalPrior()
    most = config.model.limits
    usable = [
        replace(example, given=replace(example.given, retrieval=prior.scores(example.given.task, cards)))
        for example in examples
        if len(cards := example.given.candidates) <= most.max_candidates
        and len(example.target.steps) <= most.max_steps
    ]
    valid, taught = usable[::_VALID_SHARE], [item for i, item in enumerate(usable) if i % _VALID_SHARE]
    texts = [item.given.task for item in usable] + [card.text for item in usable for card in item.given.candidates]
    tokenizer = train_tokenizer(texts, vocab_size=4096)
    network = PlannerNetwork(config)

    def report(step: Progress) -> None:
        if step.valid is not None:
            console.print(
                f"epoch {step.epoch + 1} of {step.epochs}: loss {step.losses['total']:.3f}, "
                f"held out {step.valid['total']:.3f}"
            )

    train(network, tokenizer, taught, valid=valid, minutes=minutes, report=report)
    save_checkpoint(folder, network, tokenizer, extra=prior.files())


def _plan(
    examples: Sequence[PlanningExample], checkpoint: Checkpoint, prior: Prior, console: Console, *, every: bool
) -> tuple[list[Edges], list[float]]:
    found: list[Edges] = []
    ms: list[float] = []
    for number, example in enumerate(examples):
        begun = time.perf_counter()
        cards = example.given.candidates
        given = replace(example.given, retrieval=prior.scores(example.given.task, cards))
        given = narrow(given, checkpoint.config.model.limits.max_candidates)
        given = with_precedents(prior, given)
        drafted = decode(checkpoint.network, checkpoint.tokenizer, given, every=every)
        ms.append((time.perf_counter() - begun) * 1000.0)
        # Narrowing keeps the objects and their order, so that names that occur twice stay apart.
        place = [next(k for k, card in enumerate(cards) if card is kept) for kept in given.candidates]
        found.append(_drawn(drafted, place))
        if number % 100 == 99:
            console.print(f"planned {number + 1} of {len(examples)}")
    return found, ms


def _drawn(drafted: Drafted, place: Sequence[int]) -> Edges:
    steps = drafted.steps
    return frozenset((place[steps[parent].tool], place[step.tool]) for step in steps for parent in step.parents)


def _edges(example: PlanningExample) -> Edges:
    steps = example.target.steps
    return frozenset((steps[parent].tool, step.tool) for step in steps for parent in step.parents)


def _listed(example: PlanningExample) -> Edges:
    return frozenset((k, k + 1) for k in range(len(example.given.candidates) - 1))


def _show(count: int, rows: dict[str, dict[str, float]], console: Console) -> None:
    table = Table(title=f"{count} requests")
    for heading in ("planner", "edge F1", "exact graph"):
        table.add_column(heading, justify="left" if heading == "planner" else "right")
    for name, row in rows.items():
        table.add_row(name, f"{row['edge_f1']:.3f}", f"{row['exact_dag']:.3f}")
    console.print(table)
