"""Commands about data: registry, profiles, database, samples, retraining."""

from __future__ import annotations

import signal
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from tomas.cli import render
from tomas.config import get_settings

registry_app = typer.Typer(no_args_is_help=True)
db_app = typer.Typer(no_args_is_help=True)

ToolsFile = Annotated[Path | None, typer.Option("--tools", help="A registry file; default: the one shipped.")]


@registry_app.command("check")
def registry_check(tools: ToolsFile = None) -> None:
    """Validate registry, profiles and worker classes; say which tools can run here."""
    from tomas.tools.availability import availability
    from tomas.tools.data import load_profiles, load_worker_classes
    from tomas.tools.registry import Registry

    settings = get_settings().data
    registry = Registry.load(tools or settings.tools_path)
    profiles = load_profiles(settings.profiles_path)
    classes = load_worker_classes(settings.worker_classes_path)
    unknown = sorted({row.tool for row in profiles} - set(registry.names))
    render.registry_table([(tool, availability(tool)) for tool in registry], profiles)
    render.bins_table(classes)
    for name in unknown:
        typer.echo(f"Note: profiles name {name}, which the registry does not hold.")


@db_app.command("migrate")
def db_migrate() -> None:
    """Bring the schema to this version; safe to repeat and to run twice at once."""
    from tomas.store import Store

    with Store.from_settings() as store:
        applied = store.migrate()
    typer.echo("\n".join(f"applied {name}" for name in applied) or "The schema is up to date.")


@db_app.command("seed")
def db_seed(
    prune: Annotated[bool, typer.Option("--prune", help="Remove bins that the file no longer names.")] = False,
) -> None:
    """Load registry, profiles and worker classes from their files; repeatable."""
    from tomas.store import Store
    from tomas.tools.data import load_profiles, load_worker_classes
    from tomas.tools.registry import Registry

    settings = get_settings().data
    registry = Registry.load(settings.tools_path)
    profiles = load_profiles(settings.profiles_path)
    classes = load_worker_classes(settings.worker_classes_path)
    with Store.from_settings() as store:
        store.check_schema()
        store.upsert_tools(registry)
        store.replace_profiles(profiles)
        store.upsert_worker_classes(classes, prune=prune)
    bins = sum(len(item.bins) for item in classes)
    typer.echo(f"{len(registry)} tools, {len(profiles)} profile rows, {len(classes)} classes, {bins} bins.")


def profile(
    tools: Annotated[list[str] | None, typer.Argument(help="Tools to measure; default: all that run here.")] = None,
    output: Annotated[Path, typer.Option(help="The CSV to write; rows of tools not measured are kept.")] = Path(
        "profiling.csv"
    ),
    repeats: Annotated[int, typer.Option(min=1, help="Runs per size and allocation.")] = 3,
) -> None:
    """Measure tools over input sizes and allocations, each run in its own limited child process."""
    from tomas.tools.profile import profile_tools

    written = profile_tools(tools or None, output=output, repeats=repeats, progress=typer.echo)
    typer.echo(f"{written} runs measured, written to {output}.")


def sampler(
    interval: Annotated[float | None, typer.Option(min=0.1, help="Seconds between readings.")] = None,
    bins: Annotated[list[str] | None, typer.Option("--bin", help="Bins on this host; default: all.")] = None,
    once: Annotated[bool, typer.Option("--once", help="One reading, printed, then exit.")] = False,
) -> None:
    """Write what this host's bins have free to Postgres until interrupted."""
    from tomas.errors import DataError
    from tomas.runtime.sampler import Sampler
    from tomas.store import Store

    with Store.from_settings() as store:
        store.check_schema()
        known = {item.name: item for item in store.bins()}
        missing = sorted(set(bins or []) - set(known))
        if missing or not known:
            raise DataError(
                f"The store holds no bin {', '.join(missing)}." if missing else "The store holds no bins.",
                remedy="Run `tomas db seed`, or name one of: " + (", ".join(sorted(known)) or "(none)") + ".",
            )
        chosen = [known[name] for name in bins] if bins else list(known.values())
        settings = get_settings().sampler
        keep = timedelta(days=settings.keep_days)
        reader = Sampler(store, chosen, interval or settings.interval_s, keep=keep)
        if once:
            render.samples_table(reader.sample_once())
            return
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        reader.run(stop)


def retrain(
    start: Annotated[datetime, typer.Option(help="Begin of the interval, UTC.")],
    end: Annotated[datetime, typer.Option(help="End of the interval, UTC, exclusive.")],
) -> None:
    """Refit sizing and T_inf from what ended inside the interval, and register the versions."""
    from datetime import UTC

    from tomas.store import Store
    from tomas.training.retrain import retrain as refit

    with Store.from_settings() as store:
        store.check_schema()
        version = refit(store, start.replace(tzinfo=UTC), end.replace(tzinfo=UTC))
    typer.echo(version.model_dump_json(exclude={"payload"}, indent=2))
