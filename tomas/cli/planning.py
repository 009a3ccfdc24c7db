"""``tomas plan`` and ``tomas run``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from tomas.cli import render
from tomas.config import get_settings
from tomas.errors import DataError
from tomas.schema import Budget, Plan, PlanRequest

Task = Annotated[str | None, typer.Option("--task", help="What is to be done, in English or Chinese.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--inputs", help="NAME=PATH, or PATH alone: a file, folder or glob. Repeat for more inputs."),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option("--outputs", help="NAME=MEDIA/TYPE of a result the plan must end in. Repeatable."),
]
Allowed = Annotated[list[str] | None, typer.Option("--tool", help="Plan only with these tools. Repeatable.")]
Deadline = Annotated[float | None, typer.Option("--deadline", min=0.001, help="Seconds the plan may take.")]
Budgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        help="NAME=AMOUNT the plan may consume: cpu_core_hours, cpu_mem_gb_hours, gpu_hours, cost. Repeatable.",
    ),
]
UseStore = Annotated[
    bool,
    typer.Option("--store/--no-store", help="Read history from and reserve in Postgres; needs TOMAS__STORE__DSN."),
]


def _request(
    task: str,
    inputs: list[str],
    outputs: list[str],
    allowed: list[str],
    deadline: float | None,
    unavailable: bool,
    budgets: Sequence[str] = (),
) -> PlanRequest:
    from tomas.planner.inputs import request_input

    described = {}
    for item in inputs:
        name, separator, path = item.partition("=")
        if not separator:
            name, path = Path(item.rstrip("/*")).stem or "input", item
        described[name] = request_input(name, path)
    wanted = {}
    for item in outputs:
        name, separator, media = item.partition("=")
        if not separator:
            raise DataError(
                f"--outputs {item!r} has no '='.", remedy="Write NAME=MEDIA/TYPE, such as report=text/html."
            )
        wanted[name] = media
    limits = {}
    for item in budgets:
        name, separator, amount = item.partition("=")
        if not separator:
            raise DataError(f"--budget {item!r} has no '='.", remedy="Write NAME=AMOUNT, such as cpu_core_hours=2.")
        limits[name] = amount
    try:
        return PlanRequest(
            task=task,
            budget=Budget.model_validate(limits, strict=False),
            inputs=described,
            outputs=wanted,
            allowed_tools=allowed or None,
            deadline_s=None if deadline is None else timedelta(seconds=deadline).total_seconds(),
            allow_unavailable=unavailable,
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"The request's {where}: {first['msg']}.", remedy="Correct that option.") from None


def _make_plan(request: PlanRequest, *, use_store: bool) -> Plan:
    from tomas.planner.narrative import narrate
    from tomas.planner.service import make_plan
    from tomas.store import Store
    from tomas.tools.registry import Registry

    registry = Registry.load(get_settings().data.tools_path)
    if not use_store:
        return narrate(make_plan(request, store=None, registry=registry))
    with Store.from_settings() as store:
        store.check_schema()
        return narrate(make_plan(request, store=store, registry=registry), store)


def _hint(made: Plan) -> str:
    """How to get a model's plan, for who has not chosen a planner; empty where there is nothing to say."""
    planner = get_settings().planner
    if "kind" in planner.model_fields_set or made.planner.kind != planner.kind:
        return ""
    words = "Tools were found by their words alone. For a plan of the shipped model"
    if find_spec("torch") is None or find_spec("transformers") is None:
        words += " install 'airflow-provider-tomas[model]' and"
    return f"{words} set TOMAS__PLANNER__KIND=neural."


def _write(path: Path, text: str) -> None:
    """Write whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.", remedy="Name another --output.") from None


def plan(
    task: Task = None,
    inputs: Inputs = None,
    outputs: Outputs = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the plan as JSON to this file.")
    ] = None,
    allowed: Allowed = None,
    deadline: Deadline = None,
    budgets: Budgets = None,
    unavailable: Annotated[
        bool,
        typer.Option(
            "--allow-unavailable/--runnable-only",
            help="Whether tools whose model is absent here may be planned; a plan alone runs nothing.",
        ),
    ] = True,
    use_store: UseStore = False,
    json_only: Annotated[bool, typer.Option("--json", help="Print the plan's JSON instead of tables.")] = False,
) -> None:
    """Plan a task: tools, dependencies, allocations, bins and times, proven feasible.

    Example: `tomas plan --task "对一批图片进行分类" --inputs images=data/samples/images`
    """
    request = _request(task or "", inputs or [], outputs or [], allowed or [], deadline, unavailable, budgets or [])
    made = _make_plan(request, use_store=use_store)
    if output is not None:
        _write(output, made.model_dump_json(indent=2) + "\n")
    if json_only:
        typer.echo(made.model_dump_json(indent=2))
        return
    render.plan_tables(made)
    if hint := _hint(made):
        render.note(hint)
    if output is not None:
        typer.echo(f"Written to {output}.")


def run(
    plan_file: Annotated[Path | None, typer.Argument(help="A plan written by `tomas plan --output`.")] = None,
    task: Task = None,
    inputs: Inputs = None,
    outputs: Outputs = None,
    allowed: Allowed = None,
    artifacts: Annotated[Path | None, typer.Option(help="Folder for the results.")] = None,
    use_store: UseStore = False,
) -> None:
    """Run a plan's real tools here, in measured and limited child processes, bin by bin.

    Give a plan file, or a task to plan and run at once. Exit status 0 only if every step succeeded.
    """
    from tomas.runtime.local import run_plan
    from tomas.store import Store
    from tomas.tools.registry import Registry

    if (plan_file is None) == (task is None):
        raise DataError("Neither a plan file nor --task was given, or both.", remedy="Give exactly one.")
    settings = get_settings()
    if plan_file is not None:
        made = _read_plan(plan_file)
    else:
        request = _request(task or "", inputs or [], outputs or [], allowed or [], None, unavailable=False)
        made = _make_plan(request, use_store=use_store)
    render.plan_tables(made)
    registry = Registry.load(settings.data.tools_path).with_tools(made.request.tools)
    store = Store.from_settings() if use_store else None
    try:
        records = run_plan(
            made,
            registry,
            store,
            artifacts_dir=artifacts or settings.runtime.artifacts_dir,
            on_event=render.print_event,
        )
    finally:
        if store is not None:
            store.close()
    render.actual_table(made, records)
    render.outputs_table(made, records)
    done = {record.step_id for record in records if record.usage.outcome == "success"}
    if len(done) < len(made.steps):
        raise typer.Exit(1)


def _read_plan(path: Path) -> Plan:
    try:
        return Plan.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", remedy="Name a file of `tomas plan -o`."
        ) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{path} is no plan: {where}: {first['msg']}.", remedy="Make it anew with `tomas plan`."
        ) from None
