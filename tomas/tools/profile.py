"""Measuring tools over input sizes and allocations: the rows of ``data/profiling/profiling.csv``.

Every size is run under every allocation, so that the effect of one can be told from that of the other.
Inputs are made from the sample files: repeated up to a size in the middle of its class, and pictures also
enlarged, since a tool's memory follows its largest picture while its time follows them all.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tomas.config import shared_file
from tomas.errors import DataError, ToolOutOfMemory
from tomas.schema import InputSize, Port, ProfileRow, ProfileSource, Resources, Tool, media_type_matches, utc_now
from tomas.tools.availability import availability
from tomas.tools.data import load_profiles, save_profiles
from tomas.tools.registry import Registry
from tomas.tools.run import run_tool

__all__ = ["ALLOCATIONS", "make_inputs", "profile_tool", "profile_tools"]

ALLOCATIONS: tuple[Resources, ...] = tuple(
    Resources(cpu_cores=cores, cpu_mem_gb=mem) for cores, mem in itertools.product((1, 2), (1, 2))
)
"""Every combination of one or two cores and 1 or 2 GB."""

_MEDIA_OF_SUFFIX = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".txt": "text/plain",
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
    ".csv": "text/csv",
}
_IMAGE_SCALE = {InputSize.SMALL: 1.0, InputSize.MEDIUM: 1.2, InputSize.LARGE: 1.5}


def profile_tool(
    tool: Tool,
    sizes: Iterable[InputSize] = tuple(InputSize),
    allocations: Sequence[Resources] = ALLOCATIONS,
    repeats: int = 3,
    *,
    samples_dir: Path | None = None,
    arguments: Mapping[str, Any] | None = None,
    timeout_s: float = 300.0,
    cell_budget_s: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[ProfileRow]:
    """Run ``tool`` on inputs of each size under each allocation and measure it.

    A run that hits its memory limit gives no row: its latency means nothing.

    :param samples_dir: files to make inputs from; None takes the ones shipped with TOMAS.
    :param arguments: given to every run; what is missing takes its default.
    :param cell_budget_s: no further repeat of a size and allocation starts after this much time.
    :raises ToolUnavailable: the tool cannot run here.
    :raises ToolError: a run failed for another reason than memory.
    :raises DataError: there is no sample of a type that the tool takes.
    """
    rows: list[ProfileRow] = []
    with tempfile.TemporaryDirectory(prefix="tomas-profile-") as name:
        folder = Path(name)
        for size in sizes:
            inputs = make_inputs(tool, size, folder / size.value, samples_dir=samples_dir)
            for allocation in allocations:
                began = time.monotonic()
                for number in range(repeats):
                    if number and cell_budget_s is not None and time.monotonic() - began > cell_budget_s:
                        break
                    row = _measure(tool, size, inputs, arguments or {}, allocation, folder / "out", timeout_s)
                    if row is None:
                        break
                    rows.append(row)
                    if progress is not None:
                        given = f"{allocation.cpu_cores:g} cores, {allocation.cpu_mem_gb:g} GB"
                        progress(
                            f"{tool.name} {size.value} on {given}: "
                            f"{row.latency_ms / 1000:.2f} s, peak {row.peak_mem_gb:.3f} GB"
                        )
    return rows


def profile_tools(
    names: Sequence[str] | None = None,
    *,
    output: Path,
    repeats: int = 3,
    allocations: Sequence[Resources] = ALLOCATIONS,
    cell_budget_s: float | None = None,
    registry: Registry | None = None,
    progress: Callable[[str], None] | None = None,
) -> int:
    """Measure tools and write them into the table ``output``; rows of other tools there are kept.

    :param names: None measures every tool that can run here.
    :returns: how many rows were measured.
    :raises UnknownToolError: a name is not in the registry.
    """
    registry = registry or Registry.load()
    tools = [registry.get(name) for name in names] if names else [t for t in registry if availability(t).ok]
    rows = (
        [row for row in load_profiles(output) if row.tool not in {t.name for t in tools}] if output.exists() else []
    )
    measured = 0
    for tool in tools:
        fresh = profile_tool(
            tool, allocations=allocations, repeats=repeats, cell_budget_s=cell_budget_s, progress=progress
        )
        measured += len(fresh)
        rows.extend(fresh)
        save_profiles(rows, output)  # after every tool: an interrupted run loses only the last one
    return measured


def make_inputs(
    tool: Tool, size: InputSize, folder: Path, *, samples_dir: Path | None = None
) -> dict[str, list[Path]]:
    """Files for every port of ``tool``, together of the size class ``size``, made in ``folder``.

    :raises DataError: there is no sample of a type that the tool takes.
    """
    limits = tool.input_size
    target = {
        InputSize.SMALL: limits.small_max_bytes * 0.5,
        InputSize.MEDIUM: (limits.small_max_bytes * limits.medium_max_bytes) ** 0.5,
        InputSize.LARGE: limits.medium_max_bytes * 1.1,
    }[size]
    samples = samples_dir or shared_file("data/samples")
    share = target / len(tool.inputs)
    return {port.name: _fill(tool, port, size, share, folder / port.name, samples) for port in tool.inputs}


def _fill(tool: Tool, port: Port, size: InputSize, target: float, folder: Path, samples: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    # Smallest first: even a small input then holds every kind of file, and the code each kind needs.
    sources = sorted(
        (path for path in samples.glob("*/*") if _suits(path, port.type)),
        key=lambda path: (path.stat().st_size, path.name),
    )
    if port.type == "application/jsonl":
        sources = [_records(path, folder) for path in sorted(samples.glob("documents/*.txt"))]
    if not sources:
        raise DataError(
            f"{samples} holds no file of type {port.type}, which the input {port.name} of {tool.name} takes.",
            remedy="Add a sample file of that type.",
        )
    made: list[Path] = []
    total = 0
    for number, source in enumerate(itertools.cycle(sources)):
        if made and total + source.stat().st_size / 2 > target:
            break
        path = folder / f"{number:04d}-{source.name}"
        scale = _IMAGE_SCALE[size]
        if source.suffix in (".jpg", ".png") and scale > 1:
            _enlarge(source, path, scale)
        else:
            shutil.copyfile(source, path)
        made.append(path)
        total += path.stat().st_size
    return made


def _suits(path: Path, wanted: str) -> bool:
    media_type = _MEDIA_OF_SUFFIX.get(path.suffix)
    return media_type is not None and media_type_matches(media_type, wanted)


def _enlarge(source: Path, target: Path, scale: float) -> None:
    from PIL import Image

    with Image.open(source) as image:
        image.resize((round(image.width * scale), round(image.height * scale))).save(target, quality=90)


def _records(document: Path, folder: Path) -> Path:
    """A result file such as text tools write: one record per paragraph."""
    paragraphs = document.read_text(encoding="utf-8").split("\n\n")
    target = folder.parent / f"{document.stem}.jsonl"
    lines = [
        json.dumps({"file": document.name, "unit": number, "text": text}, ensure_ascii=False)
        for number, text in enumerate(paragraphs)
    ]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def _measure(
    tool: Tool,
    size: InputSize,
    inputs: Mapping[str, Sequence[Path]],
    arguments: Mapping[str, Any],
    allocation: Resources,
    output_dir: Path,
    timeout_s: float,
) -> ProfileRow | None:
    shutil.rmtree(output_dir, ignore_errors=True)
    try:
        run = run_tool(tool, inputs, arguments, output_dir, allocation, timeout_s=timeout_s, meter_interval_ms=50)
    except ToolOutOfMemory:
        return None
    return ProfileRow(
        tool=tool.name,
        input_size=size,
        input_bytes=sum(path.stat().st_size for paths in inputs.values() for path in paths),
        cpu_core=allocation.cpu_cores,
        cpu_mem_gb=allocation.cpu_mem_gb,
        gpu_sm=allocation.gpu_sm,
        gpu_mem_gb=allocation.gpu_mem_gb,
        latency_ms=round(max(run.usage.wall_ms, 0.1), 1),
        peak_mem_gb=round(run.usage.peak_mem_gb, 4),
        cpu_seconds=round(run.usage.cpu_seconds, 3),
        output_bytes=sum(Path(artifact.uri).stat().st_size for artifact in run.outputs),
        source=ProfileSource.MEASURED,
        measured_at=utc_now().replace(microsecond=0),
    )
