"""Loaders of the tables in ``data/``: profiles, worker classes, timelines."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tomas.config import get_settings, shared_file
from tomas.errors import DataError
from tomas.schema import Bin, CapacityCurve, ProfileRow, Resources, WorkerClass

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PROFILE_COLUMNS", "load_profiles", "load_timeline", "load_worker_classes", "save_profiles"]

PROFILE_COLUMNS = tuple(ProfileRow.model_fields)
"""Columns of the profiling table, in file order."""

_PROFILE_REQUIRED = (
    "tool",
    "input_size",
    "input_bytes",
    "cpu_core",
    "cpu_mem_gb",
    "latency_ms",
    "peak_mem_gb",
    "source",
)
_TIMELINE_COLUMNS = ("time_ms", "cpu_cores", "cpu_mem_gb", "gpu_sm", "gpu_mem_gb")


def load_profiles(path: Path | None = None) -> list[ProfileRow]:
    """Read a profiling table.

    :param path: None takes ``TOMAS__DATA__PROFILES_PATH``, else the file shipped with TOMAS.
    :raises DataError: a column is missing or a row is refused; file, row and field are named.
    """
    if path is None:
        path = get_settings().data.profiles_path or shared_file("data/profiling/profiling.csv")
    frame = _read_csv(path, _PROFILE_REQUIRED, allowed=PROFILE_COLUMNS)
    rows: list[ProfileRow] = []
    for number, record in enumerate(frame.to_dict(orient="records"), start=2):
        cells = {str(key): value for key, value in record.items() if value != ""}
        try:
            rows.append(ProfileRow.model_validate(cells))
        except ValidationError as error:
            raise _refused(path, f"line {number}", error) from None
    return rows


def save_profiles(rows: list[ProfileRow], path: Path) -> None:
    """Write a profiling table that :func:`load_profiles` reads back unchanged."""
    import pandas as pd

    path.parent.mkdir(parents=True, exist_ok=True)
    records = [row.model_dump(mode="json") for row in rows]
    pd.DataFrame(records, columns=list(PROFILE_COLUMNS)).to_csv(path, index=False, lineterminator="\n")


def load_worker_classes(path: Path | None = None, *, host_cores: int | None = None) -> list[WorkerClass]:
    """Read worker classes: a JSON array of ``{name, description, capacity, bins: [{name, queue, pool}]}``.

    A bin takes class and capacity from the class it stands in. ``cpu_cores`` may be ``"host"`` or
    ``"host-N"``: the cores this process may use, less N, at least 1.

    :param path: None takes ``TOMAS__DATA__WORKER_CLASSES_PATH``, else the file shipped with TOMAS.
    :param host_cores: what ``host`` stands for; None asks the operating system.
    :raises DataError: the file is malformed; file, row and field are named.
    """
    if path is None:
        path = get_settings().data.worker_classes_path or shared_file("data/worker_classes.json")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", remedy="Name an existing file.") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON in UTF-8: {error}.", remedy="Correct the file.") from None
    if not isinstance(rows, list) or not rows:
        raise DataError(
            f"{path} holds no array of worker classes.", remedy="Declare at least one class with one bin."
        )
    cores = host_cores or _usable_cores()
    classes: list[WorkerClass] = []
    owner: dict[tuple[str, str], str] = {}
    for number, row in enumerate(rows, start=1):
        try:
            item = WorkerClass.model_validate(_expand_class(row, cores))
        except ValidationError as error:
            raise _refused(path, f"row {number}", error) from None
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}, row {number}: {error}.", remedy="Give name, capacity and bins with name, queue, pool."
            ) from None
        for bin_ in item.bins:
            for field in ("name", "queue", "pool"):
                key = (field, getattr(bin_, field))
                if key in owner:
                    raise DataError(
                        f"{path}, row {number}, field bins.{field}: {key[1]} already belongs to bin {owner[key]}.",
                        remedy="Give every bin a name, a queue and a pool of its own.",
                    )
                owner[key] = bin_.name
        classes.append(item)
    return classes


def load_timeline(path: Path, bin: Bin | str, start_at: datetime) -> CapacityCurve:  # noqa: A002
    """Read a timeline file: free capacity on an even grid, counted from ``start_at``.

    Columns ``time_ms, cpu_cores, cpu_mem_gb, gpu_sm, gpu_mem_gb``; times rise evenly from 0.

    :raises DataError: a column is missing, a value is no finite number ≥ 0, or the grid is uneven.
    """
    import pandas as pd

    frame = _read_csv(path, _TIMELINE_COLUMNS, allowed=_TIMELINE_COLUMNS)
    if frame.empty:
        raise DataError(f"{path} holds no rows.", remedy="Give at least one row with time_ms 0.")
    for name in _TIMELINE_COLUMNS:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        bad = frame.index[~(numbers >= 0) | (numbers == float("inf"))]
        if len(bad):
            raise DataError(
                f"{path}, line {int(bad[0]) + 2}, field {name}: {frame[name][bad[0]]!r} is no finite number >= 0.",
                remedy="Correct that cell.",
            )
        frame[name] = numbers
    times = [float(value) for value in frame["time_ms"]]
    step = times[1] - times[0] if len(times) > 1 else 100.0
    for index, value in enumerate(times):
        if value != index * step or step <= 0 or step != int(step):
            raise DataError(
                f"{path}, line {index + 2}, field time_ms: {value:g} is off the even grid of {step:g} ms.",
                remedy="Let times start at 0 and rise by one whole number of milliseconds.",
            )
    return CapacityCurve(
        bin=bin if isinstance(bin, str) else bin.name,
        start_at=start_at,
        step_ms=int(step),
        source="declared",
        **{name: [float(v) for v in frame[name]] for name in _TIMELINE_COLUMNS[1:]},
    )


def _read_csv(path: Path, required: tuple[str, ...], *, allowed: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", skipinitialspace=True)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", remedy="Name an existing file.") from None
    except (ValueError, UnicodeError) as error:
        raise DataError(f"{path} is not a CSV table in UTF-8: {error}.", remedy="Correct the file.") from None
    for name in required:
        if name not in frame.columns:
            raise DataError(f"{path}, line 1: column {name} is missing.", remedy=f"Add the column {name}.")
    for name in frame.columns:
        if name not in allowed:
            raise DataError(
                f"{path}, line 1: column {name!r} is unknown.", remedy=f"Known columns: {', '.join(allowed)}."
            )
    return frame


def _expand_class(row: dict[str, Any], host_cores: int) -> dict[str, Any]:
    capacity = dict(row["capacity"])
    cores = capacity.get("cpu_cores")
    if isinstance(cores, str):
        capacity["cpu_cores"] = _cores_of(cores, host_cores)
    whole = Resources.model_validate(capacity)
    bins = [{"worker_class": row["name"], "capacity": whole, **item} for item in row["bins"]]
    return {**row, "capacity": whole, "bins": bins}


def _cores_of(text: str, host_cores: int) -> int:
    head, _, less = text.partition("-")
    if head != "host" or (less and not less.isdigit()) or text.endswith("-"):
        raise ValueError(f"capacity.cpu_cores {text!r} is neither a number nor host or host-N")
    return max(1, host_cores - int(less or 0))


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _refused(path: Path, row: str, error: ValidationError) -> DataError:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "(row)"
    return DataError(f"{path}, {row}, field {field}: {first['msg']}.", remedy="Correct that field.")
