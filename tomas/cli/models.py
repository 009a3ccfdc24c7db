"""``tomas model``: what was learned, which of it is in use, and what it needs."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.text import Text

from tomas.cli.model_add import add
from tomas.cli.model_info import model_info
from tomas.cli.render import console, new_table
from tomas.errors import DataError
from tomas.schema import ModelVersion

__all__ = ["model_app"]

model_app = typer.Typer(no_args_is_help=True)
model_app.command("info")(model_info)
model_app.command("add")(add)

Kind = Annotated[str | None, typer.Option("--kind", help="sizing, latency, forecast or planner; default: all.")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="As `tomas model list` names it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_ALL = 1_000_000
"""More versions than any registry holds."""


@model_app.command("list")
def show_all(
    kind: Kind = None, limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 30
) -> None:
    """List the registered versions; the one in use is marked."""
    from tomas.store import Store

    with Store.from_settings() as store:
        store.check_schema()
        found = store.models(kind, limit=limit)
    if not found:
        typer.echo(
            "No model is registered. `tomas retrain` fits sizes and latencies; `tomas model add` takes a planner."
        )
        return
    table = new_table("Models", "version", "kind", "fitted to runs until", "metrics", "parent", "")
    for item in found:
        table.add_row(
            item.version,
            item.kind,
            f"{item.interval_end:%Y-%m-%d %H:%M}" if _of_runs(item) else "–",
            _metrics(item, 3),
            item.parent or "–",
            Text("in use", style="green") if item.promoted else "",
        )
    console.print(table)


@model_app.command("show")
def show(version: Version) -> None:
    """Show one version: what it was made from, how good it is, where its files lie."""
    from tomas.store import Store

    with Store.from_settings() as store:
        store.check_schema()
        item = store.model(version)
        promotions = [entry for entry in store.model_promotions(limit=_ALL) if entry[0] == version]
    if item is None:
        raise _unknown(version)
    table = new_table(version, "", "")
    rows = [
        ("kind", item.kind),
        ("in use", "yes" if item.promoted else "no"),
        ("runs from", f"{item.interval_start:%Y-%m-%d %H:%M:%S %Z}" if _of_runs(item) else "no runs"),
        ("runs until" if _of_runs(item) else "trained at", f"{item.interval_end:%Y-%m-%d %H:%M:%S %Z}"),
        ("data hash", item.data_hash or "–"),
        ("parent", item.parent or "–"),
        ("registered", f"{item.created_at:%Y-%m-%d %H:%M:%S %Z}, made by TOMAS {item.code_version or '?'}"),
        ("files", f"{item.artifact.uri}, {item.artifact.bytes / 1e6:.1f} MB" if item.artifact else "none"),
        ("files' SHA-256", item.artifact.sha256 if item.artifact else "–"),
        ("payload", f"{len(json.dumps(item.payload)) / 1e3:.1f} kB"),
    ]
    rows += [(name, value) for name, value in sorted(item.payload.items()) if isinstance(value, str)]
    rows += [(name, f"{value:.6g}") for name, value in sorted(item.metrics.items())]
    rows += [
        ("promoted", f"{at:%Y-%m-%d %H:%M:%S %Z}{', taken back' if back else ''}") for _, at, back in promotions
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)


@model_app.command("promote")
def promote(version: Version) -> None:
    """Put a version into use; plans made from now on use it."""
    from tomas.config import get_settings
    from tomas.store import Store

    with Store.from_settings() as store:
        store.check_schema()
        found = store.model(version)
        if found is None:
            raise _unknown(version)
        store.promote_model(version)
    typer.echo(f"{version} is in use.")
    pinned = get_settings().neural.checkpoint
    if found.kind == "planner" and pinned is not None:
        typer.echo(f"Planners here keep to {pinned} while TOMAS__NEURAL__CHECKPOINT names it.")


@model_app.command("rollback")
def rollback(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="sizing, latency, forecast or planner.")],
) -> None:
    """Take the last promotion of a kind back: the version before it is in use again."""
    from tomas.store import Store

    with Store.from_settings() as store:
        store.check_schema()
        current, before = store.roll_back_model(kind)
    typer.echo(f"{before} is in use again, instead of {current}.")


@model_app.command("prune")
def prune(
    kind: Kind = None,
    keep: Annotated[int, typer.Option(min=1, help="Newest versions to keep, of every kind.")] = 10,
    yes: Yes = False,
) -> None:
    """Delete old versions and their files.

    The one in use, the latest that were promoted, and those that stored plans cite are kept.
    """
    from tomas.store import Store
    from tomas.store.artifacts import delete_artifact

    if not yes:
        typer.confirm(f"Delete all but the newest {keep} versions and what is in use or cited?", abort=True)
    with Store.from_settings() as store:
        store.check_schema()
        deleted = store.prune_models(keep, kind)
        still = {item.artifact.uri for item in store.models(limit=_ALL) if item.artifact}
    artifacts = {item.artifact.uri: item.artifact for item in deleted if item.artifact}
    for uri, artifact in artifacts.items():
        if uri not in still:
            delete_artifact(artifact)
    typer.echo(f"Deleted {len(deleted)} versions." if deleted else "Nothing to delete.")


def _of_runs(item: ModelVersion) -> bool:
    """Whether it was fitted to runs: a planner that generated examples taught has an empty interval."""
    return item.interval_start < item.interval_end


def _metrics(item: ModelVersion, most: int) -> str:
    parts = [f"{name} {value:.3g}" for name, value in sorted(item.metrics.items())]
    return ", ".join(parts[:most]) + (" …" if len(parts) > most else "")


def _unknown(version: str) -> DataError:
    return DataError(f"There is no model version {version}.", remedy="See `tomas model list`.")
