"""Generate training data: ``python -m tomas.training.generate --count 1000 --out examples.jsonl.gz``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from tomas.errors import TomasError
from tomas.model.example import PlanningExample
from tomas.tools.registry import Registry
from tomas.training.generate.codec import write_examples
from tomas.training.generate.examples import Generated, Generator
from tomas.training.generate.label import Labeller
from tomas.training.generate.public import taskbench_specs
from tomas.training.generate.registry import specs_of
from tomas.training.generate.split import Split

__all__ = ["main"]

_EVERY_S = 5.0


def main(
    count: Annotated[int, typer.Option(min=1, help="Number of examples.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same file.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="File to write; .gz is compressed. Without: only samples.")
    ] = None,
    language: Annotated[Literal["en", "zh", "both"], typer.Option(help="Language of the tasks.")] = "both",
    split: Annotated[Literal["train", "valid", "test", "any"], typer.Option(help="Which split.")] = "train",
    registry: Annotated[Path | None, typer.Option(help="Registry file; default: the shipped one.")] = None,
    taskbench: Annotated[
        list[Path] | None, typer.Option(help="tool_desc.json of a typed TaskBench domain: one more registry.")
    ] = None,
    labels: Annotated[bool, typer.Option(help="Label allocations by the exact scheduler.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps labels.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="Print so many examples to read.")] = 5,
) -> None:
    """Generate planning examples, say how they are distributed, and print some to read."""
    wanted: Split | None = None if split == "any" else split
    more = [taskbench_specs(path) for path in taskbench or ()]
    specs = specs_of(Registry.load(registry))
    generator = Generator(specs, seed=seed, languages=language, split=wanted, more=more)
    labeller = Labeller(cache) if labels else None
    counts: Counter[str] = Counter()
    clock = time.process_time()
    examples = _examples(generator, count, labeller, counts, samples)
    if out is None:
        for _ in examples:
            pass
    else:
        write_examples(examples, out)
    spent = time.process_time() - clock
    labelling = labeller.spent_s if labeller else 0.0
    rate = count / max(1e-9, spent - labelling)
    print(f"{count} examples in {spent - labelling:.1f} s of a processor ({rate:.0f} per second)", end="")
    print(f"; labels {labelling:.1f} s, {labeller.summary()}" if labeller else "")
    if labeller:
        print(f"makespan against the best schedule: {labeller.ratios()}")
    for title in ("language", "family", "answer", "steps", "edges"):
        shares = [(key.partition(":")[2], number) for key, number in counts.items() if key.startswith(f"{title}:")]
        print(f"{title}: " + ", ".join(f"{key} {100 * number / count:.1f} %" for key, number in sorted(shares)))


def _examples(
    generator: Generator, count: int, labeller: Labeller | None, counts: Counter[str], samples: int
) -> Iterator[PlanningExample]:
    last = time.monotonic()
    for number in range(count):
        made = generator.generate(number)
        example = labeller.label(made) if labeller else made.example
        _count(example, counts)
        if number < samples:
            _show(made)
        if time.monotonic() - last > _EVERY_S:
            last = time.monotonic()
            print(f"{number + 1} of {count}", file=sys.stderr)
        yield example


def _count(example: PlanningExample, counts: Counter[str]) -> None:
    target = example.target
    counts[f"language:{example.given.language}"] += 1
    counts[f"family:{example.group.partition('|')[0]}"] += 1
    counts["answer:refusal" if target.refuse else "answer:plan"] += 1
    counts[f"steps:{len(target.steps):02d}"] += 1
    counts[f"edges:{min(10, sum(len(step.parents) for step in target.steps)):02d}"] += 1


def _show(made: Generated) -> None:
    example = made.example
    print(f"--- {example.id}  {example.group}")
    print(example.given.task)
    if example.target.refuse:
        print("    refused")
    for place, step in enumerate(example.target.steps):
        after = f" after {', '.join(str(parent + 1) for parent in step.parents)}" if step.parents else ""
        values = ", ".join(f"{name}={value}" for name, value in step.arguments)
        print(
            f"    {place + 1}. {example.given.candidates[step.tool].name}{after}{' · ' + values if values else ''}"
        )


if __name__ == "__main__":
    try:
        typer.run(main)
    except TomasError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
