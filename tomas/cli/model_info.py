"""``tomas model info``: what a configuration of the neural planner is made of and needs."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tomas.cli.render import console, new_table
from tomas.errors import ConfigError

__all__ = ["model_info", "model_side"]


def model_info(
    name: Annotated[str, typer.Argument(help="A configuration shipped with TOMAS.")] = "tiny",
    config: Annotated[Path | None, typer.Option("--config", help="A YAML file instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print parameters by panel and the memory of weights, cache and training; no weights are read."""
    settings, measure = model_side("tomas.model.config"), model_side("tomas.model.info")
    chosen = config or name
    info = measure.model_info(settings.load_config(chosen))
    if as_json:
        typer.echo(json.dumps(info.to_json()))
        return
    table = new_table(f"Panels of {chosen}", "part", "parameters", right=("parameters",))
    for part, count in info.panels.items():
        table.add_row(part, f"{count:,}")
    table.add_row("together", f"{info.parameters:,}")
    table.add_row("without embeddings", f"{info.without_embeddings:,}")
    console.print(table)
    memory = new_table("Memory", "of", "GB", right=("GB",))
    memory.add_row("weights as configured", f"{info.stored / 2**30:.3f}")
    for kind, gb in info.weights_gb.items():
        memory.add_row(f"weights in {kind}", f"{gb:.3f}")
    memory.add_row(f"key-value cache of {info.sequence} positions", f"{info.cache_gb:.3f}")
    for strategy, need in info.strategies.items():
        memory.add_row(
            f"training, {strategy} ({need.trainable:,} parameters), before activations", f"{need.gb:.3f}"
        )
    console.print(memory)


def model_side(module: str) -> Any:
    """A module that needs torch, imported when a command runs."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The neural planner needs {error.name}.", remedy="pip install 'airflow-provider-tomas[model]'"
        ) from None
