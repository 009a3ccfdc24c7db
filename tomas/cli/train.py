"""``tomas train``: train the neural planner, from the generator's examples or from files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tomas.cli.model_add import add
from tomas.cli.model_info import model_side
from tomas.cli.render import console, new_table
from tomas.errors import ConfigError

__all__ = ["train"]

Strategy = Literal["freeze_backbone", "lora", "full_finetune"]
_EVERY_S = 60.0
_progress = Console(stderr=True, highlight=False)


def train(
    config: Annotated[
        str, typer.Option(help="A shipped configuration (tiny, qwen2_5_7b) or a YAML file.")
    ] = "tiny",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the checkpoint; default: .tomas/models/CONFIGURATION."),
    ] = None,
    strategy: Annotated[
        Strategy | None,
        typer.Option(help="What of the backbone is trained; default: the configuration's."),
    ] = None,
    init: Annotated[Path | None, typer.Option(help="A checkpoint to train further.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Examples of `python -m tomas.training.generate`; default: made by `training.data`."),
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(help="With --data: what is held out; default: phrasings and groups of the file.")
    ] = None,
    tools: Annotated[
        Path | None, typer.Option(help="Registry whose tools are learned; default: the one shipped.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the configuration's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights and batches; not of the data.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="End with the epoch after which another would take longer.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on from where the same command was interrupted.")
    ] = True,
    work: Annotated[Path, typer.Option(help="Folder of made examples, labels, and the state of runs.")] = Path(
        ".tomas/training"
    ),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that make examples; default: one per core.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch; default: torch's own choice.")] = None,
    device: Annotated[str, typer.Option(help="As torch names it: cpu, cuda, cuda:1.")] = "cpu",
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Keep no activations of the backbone: less memory, more time.")
    ] = False,
    register: Annotated[
        bool, typer.Option("--register", help="Put it into the model registry, as `tomas model add` does.")
    ] = False,
) -> None:
    """Train the neural planner and write its checkpoint.

    Examples are made by the generator, labelled by the exact scheduler and kept in --work, so that they are made
    once. The state is saved every minute: after an interruption, even kill -9, the same command goes on from there
    and ends in the same weights. Training ends early when what is held out gets no better
    (`training.patience`); the confidence is calibrated on it afterwards. The run's folder holds the losses of all
    epochs (history.json) and their picture (loss.svg).
    """
    settings = model_side("tomas.model.config").load_config(config)
    changed = {"strategy": strategy, "epochs": epochs, "seed": seed}
    changed = {name: value for name, value in changed.items() if value is not None}
    settings = settings.model_copy(update={"training": settings.training.model_copy(update=changed)})
    target = out or Path(".tomas/models") / Path(config).stem
    side = model_side("tomas.training.neural.fit")
    if threads is not None:
        model_side("torch").set_num_threads(threads)
    side.check_place(target)
    if register:
        _check_store()
    cards, registry = _registry(tools)
    dataset = _dataset(settings, data, valid, registry, work, workers)
    run = side.run_folder(work, settings, dataset, init)
    _progress.print(f"{len(dataset.train)} examples, {len(dataset.valid)} held out; the run's folder is {run}")
    if resume and model_side("tomas.training.neural.state").interrupted(run):
        _progress.print("it goes on from where it was interrupted (--fresh starts anew)")
    with _bar() as told:
        fitted = side.fit(
            settings,
            dataset,
            cards,
            target,
            run,
            init=init,
            resume=resume,
            minutes=minutes,
            device=device,
            recompute=recompute,
            report=lambda progress: _tell(told, progress),
            say=_progress.print,
        )
    _show(fitted)
    if register:
        add(target)


def _dataset(
    settings: Any, data: Path | None, valid: Path | None, registry: Any, work: Path, workers: int | None
) -> Any:
    side = model_side("tomas.training.neural.dataset")
    chosen, limits = settings.training.data, settings.model.limits
    if data is not None:
        return side.given_data(data, valid, side.prior_of(chosen), limits)
    if valid is not None:
        raise ConfigError("--valid is held out of --data, which is not given.", remedy="Give both, or neither.")
    with _bar() as told:

        def tell(making: Any) -> None:
            name = f"examples (labels took {making.label_s:.0f} s of a processor)"
            told(making.done / making.total, name)

        dataset = side.generated(chosen, registry, limits, work, workers=workers, report=tell)
    _progress.print(
        f"making the examples took {dataset.made_s:.0f} s of processor time, labels {dataset.label_s:.0f} s more"
        + (f"; {dataset.left_out} exceed the model's limits" if dataset.left_out else "")
    )
    return dataset


def _check_store() -> None:
    """Fail before training, not after it."""
    from tomas.store import Store

    with Store.from_settings() as store:
        store.check_schema()


def _registry(path: Path | None) -> tuple[list[Any], Any]:
    from tomas.neural.cards import tool_card
    from tomas.tools.registry import Registry

    registry = Registry.load(path)
    return [tool_card(tool) for tool in registry], registry


@contextmanager
def _bar() -> Iterator[Callable[[float, str], None]]:
    """A bar on stderr, without a terminal a line a minute; called with the share that is done and a description."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_progress, speed_estimate_period=600.0) as bar:
        shown = bar.add_task("", total=1.0)
        last = time.monotonic()

        def told(share: float, description: str) -> None:
            nonlocal last
            bar.update(shown, completed=share, description=description)
            if not _progress.is_terminal and time.monotonic() - last > _EVERY_S:
                last = time.monotonic()
                _progress.print(f"{description}, {share:.0%} done", markup=False)

        yield told


def _tell(told: Callable[[float, str], None], progress: Any) -> None:
    line = f"epoch {progress.epoch + 1} of {progress.epochs}: loss {progress.losses['total']:.3f}"
    told(progress.share, line)
    if progress.valid is not None:
        parts = ", ".join(f"{name} {value:.3f}" for name, value in progress.valid.items() if name != "total")
        _progress.print(f"{line}, held out {progress.valid['total']:.3f} ({parts})")


def _show(fitted: Any) -> None:
    notes, trained, sure = fitted.notes, fitted.trained, fitted.calibration
    table = new_table(f"Planner {fitted.version}", "", "")
    rows = [
        ("checkpoint", str(fitted.folder)),
        ("weights of epoch", f"{trained.epochs} of {len(trained.history.train)} ({trained.stopped})"),
        ("time", f"{trained.seconds / 60.0:.1f} minutes on {notes['threads']} threads"),
        ("error of confidence", f"{sure.error_before:.3f}, calibrated {sure.error_after:.3f}"),
        ("losses", str(fitted.curve or "no picture: pip install 'airflow-provider-tomas[plots]'")),
        ("data", f"{notes['data']['train']} examples, SHA-256 {notes['data']['sha256'][:12]}…"),
        ("parent", notes["parent"] or "–"),
    ]
    losses = trained.history.valid[trained.epochs - 1]
    rows += [(f"held out, {name}", f"{value:.4f}") for name, value in losses.items()]
    for row in rows:
        table.add_row(*row)
    console.print(table)
