"""Scheduling instances: files of the PSPLIB, and generated plans of TOMAS's own kind."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tomas.errors import DataError
from tomas.schedule import Activity, Capacity, Mode, Problem, mode_need
from tomas.schema import Resources, pool_slots

__all__ = ["Instance", "own_kind", "read_archive", "read_mm", "read_sm"]

_INFEASIBLE = 16384
"""What PSPLIB's tables of multi-mode optima write for an instance without any schedule."""


@dataclass(frozen=True)
class Instance:
    """A problem and, where known, its best makespan."""

    name: str
    problem: Problem
    optimum_ms: float | None


def read_archive(path: Path) -> list[Instance]:
    """The instances of a zip of ``.sm`` or ``.mm`` files, with their optima; those without one are left out.

    :raises DataError: no archive, no instance, or a file that breaks the format.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no readable zip: {error}.", remedy="Name a PSPLIB archive.") from None
    with archive:
        texts = {
            Path(name).name: archive.read(name).decode("latin-1")
            for name in archive.namelist()
            if name.endswith((".sm", ".mm", ".csv"))
        }
    optima: dict[str, float | None] = {}
    for name, text in texts.items():
        if name.endswith(".csv"):
            optima.update(_optima_csv(name, text))
        elif name.endswith("opt.mm"):
            optima.update(_optima_mm(name, text))
    found = []
    for name in sorted(texts, key=_natural):
        if name.endswith(".sm"):
            found.append(Instance(name, read_sm(texts[name], name), optima.get(name)))
        elif name.endswith(".mm") and not name.endswith("opt.mm") and optima.get(name, 0.0) is not None:
            found.append(Instance(name, read_mm(texts[name], name), optima.get(name)))
    if not found:
        raise DataError(f"{path} holds no .sm or .mm instance.", remedy="Name a PSPLIB archive.")
    return found


def _natural(name: str) -> list[object]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _optima_csv(name: str, text: str) -> Iterator[tuple[str, float]]:
    for row in csv.DictReader(io.StringIO(text)):
        try:
            yield row["problem"], float(row["optimum"])
        except (KeyError, ValueError, TypeError):
            raise DataError(
                f"{name} has a row without problem and optimum: {row}.", remedy="Correct the table."
            ) from None


def _optima_mm(name: str, text: str) -> Iterator[tuple[str, float | None]]:
    prefix = name.removesuffix("opt.mm")
    for found in re.finditer(r"^\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,", text, flags=re.MULTILINE):
        parameter, number, makespan = (int(group) for group in found.groups())
        yield f"{prefix}{parameter}_{number}.mm", None if makespan == _INFEASIBLE else float(makespan)


def _sections(text: str, name: str) -> dict[str, list[str]]:
    """Lines below each of the headings that matter."""
    wanted = ("PRECEDENCE RELATIONS", "REQUESTS/DURATIONS", "RESOURCEAVAILABILITIES")
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        heading = next((item for item in wanted if line.startswith(item)), None)
        if heading:
            current = sections.setdefault(heading, [])
        elif line.startswith("***"):
            current = None
        elif current is not None and line.strip():
            current.append(line)
    if set(sections) != set(wanted):
        raise DataError(f"{name} lacks {sorted(set(wanted) - set(sections))}.", remedy="Give a PSPLIB file.")
    return sections


def read_sm(text: str, name: str) -> Problem:
    """A single-mode instance (``.sm``); one time unit becomes one millisecond."""
    return read_mm(text, name)


def read_mm(text: str, name: str) -> Problem:
    """A multi-mode instance (``.mm``): renewable resources on one bin, non-renewable ones as budgets."""
    sections = _sections(text, name)
    try:
        before: dict[int, list[str]] = {}
        for line in sections["PRECEDENCE RELATIONS"][1:]:
            numbers = [int(part) for part in line.split()]
            before.setdefault(numbers[0], [])
            for follower in numbers[3 : 3 + numbers[2]]:
                before.setdefault(follower, []).append(str(numbers[0]))
        kinds = re.findall(r"([RND])\s+\d+", sections["RESOURCEAVAILABILITIES"][0])
        amounts = [float(part) for part in sections["RESOURCEAVAILABILITIES"][1].split()]
        if "D" in kinds or len(kinds) != len(amounts):
            raise DataError(f"{name}: doubly constrained resources are not read.", remedy="Use R and N only.")
        renewable = [i for i, kind in enumerate(kinds) if kind == "R"]
        budgets = {f"N{i}": amounts[i] for i, kind in enumerate(kinds) if kind == "N"}
        modes: dict[int, list[Mode]] = {}
        current = 0
        for line in sections["REQUESTS/DURATIONS"][2:]:
            values = [int(part) for part in line.split()]
            if len(values) == len(kinds) + 3:
                current = values.pop(0)
            duration, need = float(values[1]), values[2:]
            modes.setdefault(current, []).append(
                Mode(
                    "project",
                    tuple(float(need[i]) for i in renewable),
                    duration,
                    duration,
                    {f"N{i}": float(need[i]) for i, kind in enumerate(kinds) if kind == "N"},
                )
            )
        activities = tuple(Activity(str(job), tuple(modes[job]), tuple(before[job])) for job in sorted(before))
    except (IndexError, KeyError, ValueError) as error:
        raise DataError(f"{name} breaks the format: {error!r}.", remedy="Give a PSPLIB file.") from None
    free = np.array([[amounts[i] for i in renewable]])
    return Problem(
        activities,
        {"project": Capacity(np.array([0.0]), free)},
        resources=tuple(f"R{i}" for i in renewable),
        budgets=budgets,
    )


_WORKERS = (
    Resources(cpu_cores=4, cpu_mem_gb=16),
    Resources(cpu_cores=8, cpu_mem_gb=32),
    Resources(cpu_cores=16, cpu_mem_gb=64),
    Resources(cpu_cores=8, cpu_mem_gb=64, gpu_sm=100, gpu_mem_gb=40),
)
_CORES = (1, 2, 4, 8)


def own_kind(steps: int, *, modes: int = 5, bins: int = 4, width: float = 0.5, seed: int = 0) -> Problem:
    """A plan as TOMAS makes them: layered graph, allocations x bins as modes, curves that change.

    :param width: 0 gives one chain, 1 steps that hardly depend on each other.
    """
    random = np.random.default_rng(seed)
    workers = [_WORKERS[i % len(_WORKERS)] for i in range(bins)]
    capacities = {f"bin_{i}": _curve(random, worker, steps) for i, worker in enumerate(workers)}
    window = max(1, round(steps * width * 0.5))
    activities = []
    for index in range(steps):
        first = max(0, index - window)
        count = int(random.integers(0 if width > 0.8 else 1, 4)) if width else 1
        chosen = random.choice(np.arange(first, index), size=min(count, index - first), replace=False)
        before = tuple(f"s{i}" for i in sorted(chosen.tolist())) if width else ((f"s{index - 1}",) if index else ())
        activities.append(Activity(f"s{index}", _modes(random, workers, modes), before))
    return Problem(tuple(activities), capacities)


def _curve(random: np.random.Generator, worker: Resources, steps: int) -> Capacity:
    """Free amounts that change every 20 s to 2 min, and slots that other plans hold for some time."""
    cells = max(4, steps // 4)
    starts = np.concatenate(([0.0], np.cumsum(np.round(random.uniform(20.0, 120.0, cells - 1)) * 1000.0)))
    share = random.choice([0.5, 0.75, 0.9, 1.0], size=(cells, 4), p=[0.15, 0.25, 0.3, 0.3])
    free = np.round(share * np.array(list(worker)), 2)
    slots = np.where(random.random(cells) < 0.25, 100 - random.integers(10, 50, cells), 100).astype(float)
    return Capacity(starts, np.column_stack([free, slots]), spread=float(random.uniform(0.0, 0.2)))


def _modes(random: np.random.Generator, workers: list[Resources], count: int) -> tuple[Mode, ...]:
    """Different core counts on different bins; Amdahl's law, some with a GPU."""
    serial_s = float(np.exp(random.normal(np.log(40.0), 0.5)))
    parallel = float(random.uniform(0.3, 0.95))
    memory = round(float(np.exp(random.normal(np.log(4.0), 0.6))), 2)
    gpu_speedup = float(random.choice([0.0, 0.0, 4.0, 10.0]))
    found: dict[tuple[int, int, int], Mode] = {}
    while len(found) < count:
        place = int(random.integers(len(workers)))
        cores = int(random.choice(_CORES))
        gpu = int(random.choice([0, 25, 50])) if gpu_speedup and workers[place].gpu_sm else 0
        speed = 1.0 / ((1.0 - parallel) + parallel / cores) * float(random.uniform(0.9, 1.1))
        if gpu:
            speed *= 1.0 + (gpu_speedup - 1.0) * (gpu / 50.0)
        need = Resources(
            cpu_cores=cores, cpu_mem_gb=memory, gpu_sm=gpu, gpu_mem_gb=round(memory / 2, 2) if gpu else 0.0
        )
        if not need.fits(workers[place].model_copy(update={"cpu_mem_gb": workers[place].cpu_mem_gb / 2})):
            memory = round(memory / 2, 2)
            continue
        duration = float(np.ceil(serial_s / speed * 1000.0))
        hours = duration / 3.6e6
        found[place, cores, gpu] = Mode(
            f"bin_{place}",
            mode_need(need, pool_slots(need, workers[place])),
            p50_ms=duration * 0.8,
            p90_ms=duration,
            cost=hours * (0.04 * cores + 0.005 * memory + 2.0 * gpu / 100.0),
        )
    return tuple(found.values())
