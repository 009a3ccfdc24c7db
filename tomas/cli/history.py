"""``tomas db stats`` and ``tomas db prune``: how much history there is, and how long it is kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from tomas.cli.render import console, new_table
from tomas.config import get_settings
from tomas.schema import utc_now


def db_stats() -> None:
    """Show the tables of TOMAS's Postgres: rows (as Postgres estimates them), size, and the time they span; and how
    many samples and records were refused, and why.
    """
    from tomas.store import Store

    with Store.from_settings() as store:
        store.check_schema()
        found, refused = store.table_stats(), store.refused_rows()
    table = new_table(
        "Store", "table", "rows, about", "size", "partitions", "first (UTC)", "last (UTC)", right=("size",)
    )
    for item in found:
        table.add_row(
            item.name,
            f"{item.rows:,}",
            _size(item.bytes),
            str(item.partitions or ""),
            f"{item.first_at:%Y-%m-%d %H:%M}" if item.first_at else "",
            f"{item.last_at:%Y-%m-%d %H:%M}" if item.last_at else "",
        )
    console.print(table)
    typer.echo(f"In all {_size(sum(item.bytes for item in found))}.")
    if refused:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in refused.items())
        typer.echo(f"Refused rows, kept in tomas.rejected_row: {reasons}.")


def db_prune(
    samples_days: Annotated[
        float | None, typer.Option(min=0.0, help="Remove readings that are older, but for those that plans cite.")
    ] = None,
    records_days: Annotated[
        float | None,
        typer.Option(min=0.0, help="Remove records of tries that ended earlier and whose plan is gone."),
    ] = None,
    plans_days: Annotated[
        float | None, typer.Option(min=0.0, help="Remove plans that are older, have ended and hold nothing.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove old history: what the options name; without any, the readings that the sampler would remove by itself.

    Hourly rollups of the readings stay. Plans go first, then what only they kept: so a reading that a removed plan
    cited goes in the same run.
    """
    from tomas.store import Store

    if samples_days is None and records_days is None and plans_days is None:
        samples_days = get_settings().sampler.keep_days
        typer.echo(f"Readings older than {samples_days:g} days (TOMAS__SAMPLER__KEEP_DAYS):")
    now = utc_now()
    verb = "would be removed" if dry_run else "removed"
    with Store.from_settings() as store:
        store.check_schema()
        if plans_days is not None:
            gone = store.prune_plans(now - timedelta(days=plans_days), dry_run=dry_run)
            typer.echo(f"{_count(gone.plans, 'plan')} {verb}.")
        if records_days is not None:
            gone = store.prune_records(now - timedelta(days=records_days), dry_run=dry_run)
            typer.echo(f"{_count(gone.records, 'record')} {verb}.")
        if samples_days is not None:
            gone = store.prune_samples(now - timedelta(days=samples_days), dry_run=dry_run)
            whole = f", {_count(gone.partitions, 'week')} of them whole" if gone.partitions else ""
            typer.echo(f"{_count(gone.samples, 'reading')} {verb}{whole}.")
            if gone.spared:
                typer.echo(f"{_count(gone.spared, 'older reading')} stay: stored plans were made from them.")
            if gone.rejected:
                typer.echo(f"{_count(gone.rejected, 'refused row')} {verb}.")


def _size(count: int) -> str:
    for unit, size in (("GB", 2**30), ("MB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.0f} kB"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
