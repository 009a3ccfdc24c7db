"""Examples as lines of JSON: compact, complete, and read back equal."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tomas.errors import DataError
from tomas.model.example import (
    PROFILE_FEATURES,
    ArgumentCard,
    FloatArray,
    ModeCard,
    PlanningExample,
    PlanningInput,
    PlanningTarget,
    PortCard,
    Precedent,
    Source,
    StepModes,
    StepTarget,
    ToolCard,
)

__all__ = ["decode", "encode", "read_examples", "write_examples"]

Json = dict[str, Any]


def encode(example: PlanningExample) -> Json:
    """Plain data for JSON."""
    given, target = example.given, example.target
    return {
        "id": example.id,
        "group": example.group,
        "task": given.task,
        "language": given.language,
        "tools": [_card(card) for card in given.candidates],
        "retrieval": _numbers(given.retrieval),
        "precedents": [[known.tools, known.weight] for known in given.precedents],
        "inputs": given.inputs,
        "outputs": given.outputs,
        "classes": given.classes,
        "capacity": _numbers(given.capacity),
        "curves": _numbers(given.curves),
        "context": [given.step_ms, given.priority, given.deadline_s],
        "steps": [_step(step) for step in target.steps],
        "refuse": target.refuse,
        "explanation": target.explanation,
        "modes": [
            [[mode.class_index, mode.need, mode.p50_ms, mode.p90_ms, mode.cost] for mode in step.modes]
            for step in example.modes
        ],
    }


def decode(row: Json) -> PlanningExample:
    """The inverse of :func:`encode`."""
    step_ms, priority, deadline_s = row["context"]
    classes = tuple(row["classes"])
    return PlanningExample(
        given=PlanningInput(
            task=row["task"],
            language=row["language"],
            candidates=tuple(_read_card(item) for item in row["tools"]),
            retrieval=np.asarray(row["retrieval"], dtype=np.float32),
            precedents=tuple(Precedent(tuple(tools), weight) for tools, weight in row["precedents"]),
            inputs=tuple((name, media, size) for name, media, size in row["inputs"]),
            outputs=tuple(row["outputs"]),
            classes=classes,
            capacity=np.asarray(row["capacity"], dtype=np.float32).reshape(len(classes), 4),
            curves=np.asarray(row["curves"], dtype=np.float32)
            if classes
            else np.zeros((0, 4, 1), dtype=np.float32),
            step_ms=step_ms,
            priority=priority,
            deadline_s=deadline_s,
        ),
        target=PlanningTarget(tuple(_read_step(item) for item in row["steps"]), row["refuse"], row["explanation"]),
        modes=tuple(
            StepModes(tuple(ModeCard(index, _four(need), p50, p90, cost) for index, need, p50, p90, cost in modes))
            for modes in row["modes"]
        ),
        group=row["group"],
        id=row["id"],
    )


def write_examples(examples: Iterable[PlanningExample], path: Path) -> int:
    """Write lines of JSON, compressed where the name ends in ``.gz``; returns how many.

    The same examples give the same bytes.
    """
    count = 0
    raw = path.open("wb")
    with raw:
        file = gzip.GzipFile("", "wb", 6, raw, mtime=0) if path.suffix == ".gz" else raw
        for example in examples:
            line = json.dumps(encode(example), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            file.write(line.encode() + b"\n")
            count += 1
        if file is not raw:
            file.close()
    return count


def read_examples(path: Path) -> Iterator[PlanningExample]:
    """Read what :func:`write_examples` wrote.

    :raises DataError: the file is missing, or a line is malformed; file and line are named.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist.", remedy="Generate it: python -m tomas.training.generate --help.")
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield decode(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{path}, line {number}: not an example ({error}).", remedy="Generate the file again."
                ) from None


def _numbers(values: FloatArray) -> Any:
    return np.round(values.astype(np.float64), 4).tolist()


def _card(card: ToolCard) -> Json:
    return {
        "name": card.name,
        "text": card.text,
        "in": [[port.name, port.media_type, port.required] for port in card.inputs],
        "out": [[port.name, port.media_type] for port in card.outputs],
        "args": [
            [item.name, item.text, item.kind, item.choices, item.required, item.choice_names]
            for item in card.arguments
        ],
        "profile": _numbers(card.profile),
    }


def _read_card(row: Json) -> ToolCard:
    return ToolCard(
        name=row["name"],
        text=row["text"],
        inputs=tuple(PortCard(name, media, required) for name, media, required in row["in"]),
        outputs=tuple(PortCard(name, media) for name, media in row["out"]),
        arguments=tuple(
            ArgumentCard(name, text, kind, tuple(choices), required, tuple(tuple(item) for item in names))
            for name, text, kind, choices, required, names in row["args"]
        ),
        profile=np.asarray(row["profile"], dtype=np.float32).reshape(-1, len(PROFILE_FEATURES)),
    )


def _step(step: StepTarget) -> list[Any]:
    bindings = [[[source.step, source.index] for source in port] for port in step.bindings]
    return [step.tool, step.parents, bindings, step.arguments, step.mode_weights, step.residual]


def _read_step(row: list[Any]) -> StepTarget:
    tool, parents, bindings, arguments, weights, residual = row
    return StepTarget(
        tool,
        tuple(parents),
        tuple(tuple(Source(step, index) for step, index in port) for port in bindings),
        tuple((name, value) for name, value in arguments),
        tuple(weights),
        tuple(residual),
    )


def _four(need: list[float]) -> tuple[float, float, float, float]:
    cores, memory, share, gpu_memory = need
    return (cores, memory, share, gpu_memory)
