"""``tomas model add``: a checkpoint of the neural planner into the model registry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomas.cli.model_info import model_side
from tomas.errors import DataError

if TYPE_CHECKING:
    from tomas.store import Store

__all__ = ["add"]

_KIND = "planner"


def add(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Checkpoint, as `tomas train` writes it.")],
    promote: Annotated[bool, typer.Option("--promote", help="Put it into use, too.")] = False,
) -> None:
    """Register a trained planner; its files are copied to TOMAS__MODEL__ARTIFACTS.

    The same files are registered once. What was learned from, metrics and parent are those of its manifest.
    """
    from tomas.config import get_settings
    from tomas.store import Store
    from tomas.store.artifacts import file_sha256, put_artifact

    files, checkpoint, notes = model_side("tomas.model.checkpoint").verify_checkpoint(folder)
    start, end = _interval(notes, folder)
    base = get_settings().model.artifacts
    with Store.from_settings() as store:
        store.check_schema()
        artifact = put_artifact(folder, base if "://" in base else str(Path(base).expanduser().resolve()))
        version = store.register_model(
            _KIND,
            {"checkpoint": checkpoint, "weights_sha256": file_sha256(files["model.safetensors"])},
            interval_start=start,
            interval_end=end,
            metrics=_numbers(notes.get("metrics", {})),
            parent=_parent(store, notes.get("parent")),
            data_hash=(notes.get("data") or {}).get("sha256"),
            artifact=artifact,
            code_version=str(notes.get("code_version", "")),
        )
        if promote:
            store.promote_model(version)
    then = " and in use." if promote else f". `tomas model promote {version}` puts it into use."
    typer.echo(f"{version} is registered{then}")


def _interval(notes: Mapping[str, Any], folder: Path) -> tuple[datetime, datetime]:
    """Interval of the runs that it learned from; an empty one at the instant of its training if from none."""
    found = notes.get("interval") or [notes.get("trained_at")] * 2
    try:
        start, end = (_instant(item) for item in found)
    except ValueError:
        raise DataError(
            f"{folder / 'manifest.json'}, field notes.trained_at: it does not say when it was trained.",
            remedy="Train it with `tomas train`.",
        ) from None
    return start, end


def _instant(value: Any) -> datetime:
    found = datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _parent(store: Store, checkpoint: str | None) -> str | None:
    """The registered version of the checkpoint that it was trained further from."""
    if not checkpoint:
        return None
    known = {item.payload.get("checkpoint"): item.version for item in store.models(_KIND, limit=1_000_000)}
    return known.get(checkpoint)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }
