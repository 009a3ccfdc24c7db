"""``tomas reservations``: who holds which capacity, and giving it back by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tomas.cli.render import amount, console, new_table
from tomas.errors import DataError
from tomas.schema import utc_now

if TYPE_CHECKING:
    from tomas.store import Store, StoredReservation

reservations_app = typer.Typer(no_args_is_help=True)

_STYLES = {"running": "green", "overruns": "yellow", "overdue": "yellow", "released": "dim", "expired": "dim"}
_COUNTED = 1_000_000
"""More rows than any plan has steps."""

BinName = Annotated[str | None, typer.Option("--bin", help="Only of this bin.")]
PlanId = Annotated[str | None, typer.Option("--plan", help="Only of this plan.")]


@reservations_app.command("list")
def show(
    bin_name: BinName = None,
    plan_id: PlanId = None,
    ended: Annotated[bool, typer.Option("--all", help="Released and expired ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest.")] = 200,
) -> None:
    """Show what steps hold: planned, waiting (due, not started), running, overruns, or overdue (not started in its
    time: the next plan on that bin takes it)."""
    from tomas.store import Store

    with Store.from_settings() as store:
        store.check_schema()
        found = store.stored_reservations(bin_name=bin_name, plan_id=plan_id, ended=ended, limit=limit + 1)
        if not found:
            _check_names(store, bin_name, plan_id)
            typer.echo("No reservations." if ended else "Nothing is reserved.")
            return
    _print(found[:limit])
    if len(found) > limit:
        typer.echo(f"These are the latest {limit}; --limit shows more.")


@reservations_app.command("release")
def release(
    plan_id: Annotated[str, typer.Argument(metavar="PLAN", help="Id of the plan.")],
    step_id: Annotated[str | None, typer.Argument(metavar="[STEP]", help="One step; default: all.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Give back what a plan, or one of its steps, holds. A step that runs takes its capacity up again."""
    from tomas.store import Store

    with Store.from_settings() as store:
        store.check_schema()
        plan = store.plan(plan_id)
        names = [step.id for step in plan.steps]
        if step_id is not None and step_id not in names:
            raise DataError(
                f"Plan {plan_id} has no step {step_id}.", remedy="Its steps are: " + ", ".join(names[:20]) + "."
            )
        held = [
            item
            for item in store.stored_reservations(plan_id=plan_id, limit=_COUNTED)
            if step_id in (None, item.reservation.step_id)
        ]
        if not held:
            typer.echo(f"{f'Step {step_id} of plan' if step_id else 'Plan'} {plan_id} holds nothing.")
            return
        _print(held)
        for item in held:
            if item.running_since is not None:
                typer.echo(
                    f"Note: step {item.reservation.step_id} runs. Its next sign of life, within seconds, reserves "
                    "again; end the task first."
                )
        if not yes:
            typer.confirm(f"Release {_count(len(held))}?", abort=True)
        ended = (
            store.release_plan_reservations(plan_id)
            if step_id is None
            else store.release_reservation(plan_id, step_id)
        )
    typer.echo(f"{_count(ended)} released.")


@reservations_app.command("expire")
def expire() -> None:
    """Free all reservations whose time has passed and whose step does not run.

    Every release of a plan does this for its own bins, so this is never needed; it tidies the list.
    """
    from tomas.store import Store

    with Store.from_settings() as store:
        store.check_schema()
        ended = store.expire_reservations()
    typer.echo(f"{_count(ended)} expired.")


def _check_names(store: Store, bin_name: str | None, plan_id: str | None) -> None:
    """Nothing was found: say so of a name that does not exist."""
    if plan_id is not None:
        store.plan(plan_id)
    bins = sorted(item.name for item in store.bins())
    if bin_name is not None and bin_name not in bins:
        raise DataError(
            f"The store holds no bin {bin_name}.", remedy="Name one of: " + (", ".join(bins) or "(none)") + "."
        )


def _print(found: list[StoredReservation]) -> None:
    now = utc_now()
    whole = ("plan", "step", "start (UTC)", "end (UTC)", "state", "age")
    columns = ("bin", "plan", "step", "need", "slots", "start (UTC)", "end (UTC)", "state", "age")
    table = new_table("Reservations", *columns, right=("slots", "age"), whole=whole)
    for item in sorted(found, key=lambda item: (item.reservation.bin, item.reservation.start_at)):
        held, state = item.reservation, _state(item, now)
        table.add_row(
            held.bin,
            held.plan_id,
            held.step_id,
            amount(held.need),
            str(held.slots),
            _instant(held.start_at, now),
            _instant(held.end_at, held.start_at),
            Text(state, _STYLES.get(state, "")),
            _age(now - item.reserved_at),
        )
    console.print(table)


def _state(item: StoredReservation, now: datetime) -> str:
    if item.state != "active":
        return item.state
    past = item.reservation.end_at <= now
    if item.running_since is not None:
        return "overruns" if past else "running"
    if past:
        return "overdue"
    return "planned" if item.reservation.start_at > now else "waiting"


def _instant(at: datetime, beside: datetime) -> str:
    """The time of day, with its date where that is not the one of ``beside``."""
    return f"{at:%H:%M:%S}" if at.date() == beside.date() else f"{at:%Y-%m-%d %H:%M:%S}"


def _age(age: timedelta) -> str:
    seconds = max(0, int(age.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _count(number: int) -> str:
    return f"{number} reservation{'' if number == 1 else 's'}"
