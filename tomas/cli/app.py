"""The commands, grouped as ``tomas --help`` lists them. Heavy imports wait until a command runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tomas import __version__
from tomas.cli import data, history, models, planning, reservations
from tomas.cli import evaluate as evaluation
from tomas.cli import forecast as forecasting
from tomas.cli import replay as replaying
from tomas.cli import simulate as simulation
from tomas.cli import sizes as sizing
from tomas.cli import train as training

__all__ = ["app"]

app = typer.Typer(
    name="tomas",
    help="Plan tasks in plain language, size and schedule them against real capacity, run and measure them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("plan")(planning.plan)
app.command("run")(planning.run)
app.command("simulate")(simulation.simulate)
app.command("replay")(replaying.replay)
app.command("forecast")(forecasting.forecast)
app.command("sizes")(sizing.sizes)
app.command("profile")(data.profile)
app.command("sampler")(data.sampler)
app.command("retrain")(data.retrain)
app.command("train")(training.train)
app.command("evaluate")(evaluation.evaluate)
app.add_typer(data.registry_app, name="registry", help="The tool registry.")
data.db_app.command("stats")(history.db_stats)
data.db_app.command("prune")(history.db_prune)
app.add_typer(data.db_app, name="db", help="TOMAS's own Postgres.")
app.add_typer(models.model_app, name="model", help="What was learned, and which of it is in use.")
app.add_typer(reservations.reservations_app, name="reservations", help="The capacity that plans hold.")

airflow_app = typer.Typer(no_args_is_help=True)
app.add_typer(airflow_app, name="airflow", help="The Airflow installation that runs the plans.")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"tomas {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Common options."""


@app.command("demo")
def demo(
    task: Annotated[
        str | None, typer.Option(help="A task in English or Chinese; default: the quick start's.")
    ] = None,
    home: Annotated[Path, typer.Option(help="Folder of the demo's databases, logs and results.")] = Path(".tomas"),
    ci: Annotated[
        bool,
        typer.Option("--ci/--no-ci", help="Stop everything at the end; exit 0 only if the run kept to its plan."),
    ] = os.environ.get("CI", "").lower() in ("1", "true"),
) -> None:
    """Start Postgres, Airflow and Celery workers here, plan a task, run it, and show plan against actual."""
    from tomas.demo.main import run_demo

    raise typer.Exit(run_demo(task, home=home, ci=ci))


@airflow_app.command("sync")
def airflow_sync(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
) -> None:
    """Create and reconcile the pools of all bins in Airflow's metadata base; repeatable."""
    from tomas.airflow.sync import sync_pools
    from tomas.store import Store

    with Store.from_settings() as store:
        store.check_schema()
        changes = sync_pools(store.bins(), dry_run=dry_run)
    for line in changes or ["Every pool is as the bins need it."]:
        typer.echo(line)
