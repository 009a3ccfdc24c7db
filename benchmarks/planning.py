"""Planning against public sets of requests with known plans.

    python -m benchmarks.planning [--train FILE | --hold-out N] --requests FILE [--tools FILE]

The format is told by the content: UltraTool (requests to chains over a fixed set of tools, --tools its
tool_desc.json), ComplexTool-Plan (requests with their own tools, to graphs), AsyncHow (steps, shuffled, to graphs).
With --train a planner is trained on other requests of that format first, with --hold-out on those of the same file
that are not held out (near-duplicates stay on one side); without both the checkpoint plans what it was never shown.
Plans are made by the neural planner's own step decoding. The last line is one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.planning_baselines import bag_of_bigrams, mlp_of_vectors, retrieval
from benchmarks.planning_formats import Request, format_of, read_chains
from benchmarks.planning_graphs import measure_graphs
from benchmarks.planning_metrics import chain_scores
from benchmarks.planning_split import held_out
from benchmarks.planning_ultratool import fit, plan
from tomas.config import shared_file
from tomas.errors import DataError, TomasError
from tomas.model.checkpoint import load_checkpoint
from tomas.model.config import NeuralConfig, load_config
from tomas.model.example import ToolCard
from tomas.model.prior import load_prior
from tomas.model.prior_encoder import SentenceEncoder, installed_encoder
from tomas.training.generate.public import read_tool_cards

_SHIPPED = "data/models/tiny"
_console = Console(stderr=True)


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status is 2 if a file cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, help="requests to learn from")
    parser.add_argument("--requests", type=Path, required=True, help="requests to plan")
    parser.add_argument("--hold-out", type=int, help="plan so many of --requests, learn from the others")
    parser.add_argument("--seed", type=int, default=0, help="of --hold-out")
    parser.add_argument("--tools", type=Path, help="UltraTool's tool_desc.json")
    parser.add_argument("--checkpoint", type=Path, help="folder of the planner; with --train it is written there")
    parser.add_argument("--plain", action="store_true", help="leave the optional sentence encoder out")
    parser.add_argument("--minutes", type=float, default=19.0, help="of training, at most")
    parser.add_argument("--epochs", type=int, help="of training the network, at most: 4 on chains, 8 on graphs")
    parser.add_argument("--tune-epochs", type=int, default=5, help="of training the encoder's upper layers")
    parser.add_argument("--candidates", type=int, default=16, help="tools that the network sees of all")
    parser.add_argument("--limit", type=int, help="plan only the first so many requests")
    parser.add_argument("--no-baselines", action="store_true", help="leave the baselines out")
    options = parser.parse_args(arguments)
    if options.train is not None and options.hold_out is not None:
        parser.error("--hold-out takes the place of --train")
    try:
        if format_of(options.requests) == "ultratool":
            line = _chains(options)
        else:
            line = measure_graphs(
                options.requests,
                taught=options.train,
                hold_out=options.hold_out,
                seed=options.seed,
                checkpoint=options.checkpoint,
                limit=options.limit,
                minutes=options.minutes,
                epochs=options.epochs or 8,
                console=_console,
            )
    except TomasError as error:
        _console.print(f"[red]{error}[/]")
        return 2
    print(json.dumps(line))
    return 0


def _chains(options: argparse.Namespace) -> dict[str, object]:
    if options.tools is None:
        raise DataError("UltraTool's requests need their tools.", remedy="Add --tools tool_desc.json.")
    cards = read_tool_cards(options.tools)
    requests = read_chains(options.requests)
    taught = read_chains(options.train) if options.train else []
    if options.hold_out:
        learned, out = held_out([item.task for item in requests], options.hold_out, options.seed)
        taught, requests = [requests[row] for row in learned], [requests[row] for row in out]
    requests = requests[: options.limit]
    encoder = None if options.plain else installed_encoder()
    _console.print(f"sentence encoder: {'none' if encoder is None else encoder.version}")
    with tempfile.TemporaryDirectory() as name:
        folder = options.checkpoint or (Path(name) / "planner" if taught else shared_file(_SHIPPED))
        spent: dict[str, float] = {}
        if taught:
            config = _config(options.epochs or 4, options.candidates)
            spent = fit(
                taught,
                cards,
                folder,
                config,
                encoder=encoder,
                tune_epochs=options.tune_epochs,
                minutes=options.minutes,
                console=_console,
            )
        checkpoint = load_checkpoint(folder)
        prior = load_prior(checkpoint.files)
        planned = plan(requests, cards, checkpoint, prior, _console)
        digest = hashlib.sha256(checkpoint.files["model.safetensors"].read_bytes()).hexdigest()
    ours = chain_scores(planned.chains, requests)
    others = {} if options.no_baselines else _baselines(taught, requests, cards, encoder)
    if taught:
        others["prior_alone"] = chain_scores(planned.prior_chains, requests)
    _show(len(requests), {"tomas": ours, **others})
    return {
        **ours,
        "ms_per_request": round(statistics.fmean(planned.ms), 2),
        "weights_sha256": digest,
        "requests": len(requests),
        "trained_on": len(taught),
        "encoder": None if encoder is None else encoder.version,
        **spent,
        "baselines": others,
    }


def _config(epochs: int, candidates: int) -> NeuralConfig:
    config = load_config("tiny")
    limits = config.model.limits.model_copy(update={"max_candidates": candidates, "max_steps": 8})
    model = config.model.model_copy(update={"limits": limits})
    training = config.training.model_copy(update={"epochs": epochs, "learning_rate": 1e-3, "patience": 3})
    return config.model_copy(update={"model": model, "training": training})


def _baselines(
    taught: list[Request], requests: list[Request], cards: list[ToolCard], encoder: SentenceEncoder | None
) -> dict[str, dict[str, float]]:
    found = {"retrieval_planner": chain_scores(retrieval(requests, cards), requests)}
    if taught:
        found["bag_of_bigrams"] = chain_scores(bag_of_bigrams(taught, requests), requests)
    if taught and encoder is not None:
        found["minilm_tfidf_mlp"] = chain_scores(mlp_of_vectors(taught, requests, encoder.encode), requests)
    return found


def _show(count: int, rows: dict[str, dict[str, float]]) -> None:
    table = Table(title=f"{count} requests not trained on")
    for heading in ("planner", "node F1", "link F1", "exact set"):
        table.add_column(heading, justify="left" if heading == "planner" else "right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[key]:.3f}" for key in ("node_f1", "link_f1", "exact_set")))
    _console.print(table)


if __name__ == "__main__":
    sys.exit(main())
