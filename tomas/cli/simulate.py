"""``tomas simulate``: plans against other capacity and arrivals, without running anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tomas.cli.planning import _read_plan as read_plan
from tomas.config import get_settings
from tomas.errors import DataError

if TYPE_CHECKING:
    from tomas.schema import Bin, Plan
    from tomas.simulate import SimBin, Workload
    from tomas.simulate.scenario import Scenario

_MANY = 100
_MOST_VARIANTS = 50
_MOST_ADDED = 1000
_ARGUMENT = "Files of `tomas plan -o`."


def simulate(
    files: Annotated[list[Path] | None, typer.Argument(metavar="PLAN.json", help=_ARGUMENT)] = None,
    plan_ids: Annotated[list[str] | None, typer.Option("--plan", help="A plan of the store. Repeatable.")] = None,
    recent: Annotated[int | None, typer.Option("--recent", min=1, help="The newest N plans of the store.")] = None,
    use_store: Annotated[
        bool, typer.Option("--store/--no-store", help="Bins from Postgres; default: the worker classes file.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Such as gpu_1.cpu_cores=4, or cpu-large.cpu_cores=x0.5@60..120. Repeatable."),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Lose a worker: gpu_1, or gpu_1@60..120. Repeatable.")
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", help="CLASS=N more workers; CLASS=0..4 compares numbers of them. Repeatable."),
    ] = None,
    arrivals: Annotated[
        str | None, typer.Option("--arrivals", help="every:300, poisson:20/h or times:FILE; each plan by itself.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", help="How often each plan arrives.")] = None,
    duration: Annotated[
        str | None, typer.Option("--duration", help="For how long plans arrive: 90, 5m, 24h, 7d.")
    ] = None,
    clock: Annotated[str, typer.Option("--clock", help="Time of day at which the simulation starts.")] = "00:00",
    latency: Annotated[
        Literal["sampled", "p50", "p90"], typer.Option("--latency", help="How long steps take.")
    ] = "sampled",
    runs: Annotated[
        int | None, typer.Option("--runs", help=f"Default: {_MANY} where anything is random, else 1.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same runs.")] = 0,
    replan: Annotated[bool, typer.Option("--replan", help="Place each arriving plan anew.")] = False,
    replan_limit: Annotated[
        float, typer.Option("--replan-limit", min=0, help="Seconds that --replan may improve each schedule.")
    ] = 0.0,
    retries: Annotated[int, typer.Option("--retries", min=0, help="How often a failed step is tried again.")] = 0,
    oom: Annotated[bool, typer.Option("--oom", help="Memory overload fails the step that started last.")] = False,
    deadline: Annotated[
        float | None, typer.Option("--deadline", min=0.001, help="Seconds from arrival; default: the plan's own.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw one run as .png, .svg or .pdf: Gantt and utilisation.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Simulate plans: what if workers had more or less, were lost or added, or plans arrived more often?

    Example: `tomas simulate plan.json --arrivals poisson:20/h --duration 24h --set large_1.cpu_cores=x0.5@9h..10h`
    """
    from tomas.cli import simulate_view as view
    from tomas.simulate.arrivals import parse_arrivals
    from tomas.simulate.scenario import Scenario, run_many
    from tomas.simulate.whatif import parse_time

    if picture is not None:
        from tomas.simulate.picture import check_picture

        check_picture(picture)
    plans, places = _read(files or [], plan_ids or [], recent, use_store=use_store)
    clock_ms = parse_time(clock)
    process = parse_arrivals(arrivals, count=count, duration_ms=None if duration is None else parse_time(duration))

    def scenario(added: Mapping[str, int]) -> Scenario:
        bins = _bins(places, changes or [], without or [], added, clock_ms=clock_ms)
        flows = _workloads(plans, bins, deadline)
        return Scenario(flows, tuple(bins), process, latency, replan, replan_limit, retries, oom, seed)

    variants = _variants(add or [])
    if runs is None:
        runs = _MANY if process.random or latency == "sampled" else 1
    if len(variants) > 1:
        _refuse_in_comparison(replan=replan, picture=picture)
        found = []
        with view.progress(show=not as_json) as told:
            for number, added in enumerate(variants):
                part = None if told is None else partial(_part, told, number, len(variants))
                found.append((added, run_many(scenario(added), runs, on_progress=part)[0]))
        typer.echo(view.comparison_json(found)) if as_json else view.comparison(found)
        return
    chosen = scenario(variants[0])
    with view.progress(show=not as_json) as told:
        summary, typical = run_many(chosen, runs, on_progress=told)
    shown = chosen.run(typical)
    if as_json:
        typer.echo(view.as_json(chosen, summary, shown, typical))
    else:
        view.tables(chosen, summary, shown, typical)
    if picture is not None:
        from tomas.simulate.picture import draw

        draw(shown, picture, title=view.title(chosen, typical, runs))
        if not as_json:
            typer.echo(f"Run {typical} drawn in {picture}.")


def _part(told: Callable[[float], None], number: int, whole: int, share: float) -> None:
    told((number + share) / whole)


def _variants(add: list[str]) -> list[dict[str, int]]:
    """How many workers of each class are added: one variant, or one per number of the class with a range."""
    variants: list[dict[str, int]] = [{}]
    for item in add:
        name, _, numbers = item.partition("=")
        low, dots, high = numbers.partition("..")
        if not (name and low.isdigit() and (not dots or high.isdigit())) or int(high or low) < int(low):
            raise DataError(f"--add {item!r} is malformed.", remedy="Write CLASS=N or CLASS=LOW..HIGH.")
        counts = range(int(low), int(high or low) + 1)
        if len(counts) > _MOST_VARIANTS or (len(counts) > 1 and len(variants) > 1) or counts[-1] > _MOST_ADDED:
            raise DataError(
                f"--add {item!r} asks for too much.",
                remedy=f"Give one range of at most {_MOST_VARIANTS} numbers, none above {_MOST_ADDED}.",
            )
        variants = [before | {name: before.get(name, 0) + count} for before in variants for count in counts]
    return variants


def _refuse_in_comparison(*, replan: bool, picture: Path | None) -> None:
    if not replan:
        raise DataError(
            "A range of --add compares numbers of workers, but plans keep the bins that they name.",
            remedy="Add --replan.",
        )
    if picture is not None:
        raise DataError("A picture shows one scenario, not a range of them.", remedy="Leave out --picture.")


def _read(
    files: list[Path], plan_ids: list[str], recent: int | None, *, use_store: bool
) -> tuple[list[tuple[str, Plan]], list[Bin]]:
    """Named plans, and the bins."""
    from tomas.store import Store
    from tomas.tools.data import load_worker_classes

    if not (files or plan_ids or recent):
        raise DataError(
            "No plan was given.", remedy="Name files of `tomas plan -o`, or --plan ID, or --recent N of the store."
        )
    plans = [(path.stem, read_plan(path)) for path in files]
    if not (use_store or plan_ids or recent):
        classes = load_worker_classes(get_settings().data.worker_classes_path)
        return _named(plans), [place for one in classes for place in one.bins]
    with Store.from_settings() as store:
        store.check_schema()
        plans += [(plan_id[:8], store.plan(plan_id)) for plan_id in plan_ids]
        if recent:
            found = store.plans(recent)
            if not found:
                raise DataError("The store holds no plan.", remedy="Make one with `tomas plan --store`.")
            plans += [(one.id[:8], one) for one in found]
        return _named(plans), store.bins()


def _named(plans: list[tuple[str, Plan]]) -> list[tuple[str, Plan]]:
    """Every plan with a name of its own."""
    taken: dict[str, int] = {}
    result = []
    for name, plan in plans:
        taken[name] = taken.get(name, 0) + 1
        result.append((name if taken[name] == 1 else f"{name}#{taken[name]}", plan))
    return result


def _bins(
    places: list[Bin], changes: list[str], without: list[str], added: Mapping[str, int], *, clock_ms: float
) -> list[SimBin]:
    from tomas.simulate import SimBin
    from tomas.simulate.whatif import add_bins, apply, parse_change, parse_loss

    bins = [SimBin.of(place) for place in places]
    for name, number in added.items():
        bins = add_bins(bins, name, number)
    return apply(
        bins,
        [parse_change(item, clock_ms=clock_ms) for item in changes],
        [parse_loss(item, clock_ms=clock_ms) for item in without],
    )


def _workloads(plans: list[tuple[str, Plan]], bins: list[SimBin], deadline_s: float | None) -> tuple[Workload, ...]:
    from dataclasses import replace

    from tomas.simulate import Workload

    known = {place.name: place for place in bins}
    found = [Workload.of(plan, known, name=name) for name, plan in plans]
    if deadline_s is not None:
        found = [replace(one, deadline_ms=deadline_s * 1000.0) for one in found]
    return tuple(found)
