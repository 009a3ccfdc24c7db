"""Examples to train on: made by the generator in several processes, and kept on disk.

An example is a function of the data settings, the registry, the generator's code and its number. So what an
interrupted run has made is used by the next, more examples are added to those that are there, and how many
processes work changes nothing. Retrieval scores are those of the prior that plans later.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from tomas.errors import DataError
from tomas.model.config import DataConfig, LimitsConfig
from tomas.model.example import PlanningExample
from tomas.model.prior import LexicalPrior, Prior
from tomas.schema import Tool, content_hash
from tomas.training.generate import Generator, read_examples, specs_of, split_of, write_examples
from tomas.training.generate.label import Labeller

__all__ = ["Dataset", "Making", "fitting", "generated", "given_data", "prior_of"]

_CHUNK = 500
_HELD_OUT = 10
"""One group of so many is held out of a file that comes without a second one."""


@dataclass(frozen=True)
class Dataset:
    """What is trained on, and what is held out.

    :ivar digest: SHA-256 over all examples.
    :ivar left_out: examples that exceed the model's limits.
    :ivar made_s: processor time that making the examples took, whenever they were made; labels apart.
    :ivar label_s: processor time of labelling them.
    """

    train: list[PlanningExample]
    valid: list[PlanningExample]
    digest: str
    left_out: int = 0
    made_s: float = 0.0
    label_s: float = 0.0


@dataclass(frozen=True)
class Making:
    """How far the examples are.

    :ivar done: examples that are on disk, of ``total``.
    :ivar label_s: processor time of their labels.
    """

    done: int
    total: int
    label_s: float


@dataclass(frozen=True)
class _Chunk:
    """A file of examples: those with the numbers from ``begin`` to ``end`` - 1."""

    path: Path
    split: Literal["train", "valid"]
    begin: int
    end: int
    labels: Path
    config: DataConfig
    registry: tuple[str, ...]

    @property
    def account(self) -> Path:
        """What the file holds and took; written last, so that a file without it is not whole."""
        return self.path.with_name(self.path.name.partition(".")[0] + ".json")


@dataclass(frozen=True)
class _Account:
    digest: str
    made_s: float
    label_s: float


def prior_of(config: DataConfig) -> Prior:
    """The prior whose scores the examples carry, and that plans with the model."""
    return {"lexical": LexicalPrior}[config.prior]()


def generated(
    config: DataConfig,
    tools: Iterable[Tool],
    limits: LimitsConfig,
    folder: Path,
    *,
    workers: int | None = None,
    report: Callable[[Making], None] | None = None,
) -> Dataset:
    """Examples of the generator's worlds, read from ``folder`` as far as they were made before.

    Held out are phrasings and tools that training never shows; all of them are labelled.

    :param tools: of the registry, which stand in all splits.
    :param workers: processes; None: one per core.
    :param report: is told of every file of examples that is there.
    :raises DataError: a process was killed, or the folder cannot be written.
    """
    rows = tuple(tool.canonical_json() for tool in tools)
    settings = config.model_dump(mode="json", exclude={"count", "valid"})
    place = folder / "examples" / content_hash([settings, rows, _code()])[:16]
    parts: list[tuple[Literal["train", "valid"], int]] = [("train", config.count), ("valid", config.valid)]
    chunks = []
    for split, count in parts:
        for begin in range(0, count, _CHUNK):
            end = min(count, begin + _CHUNK)
            path = place / f"{split}-{begin:07d}-{end:07d}.jsonl.gz"
            labels = folder / "labels" / f"{split}-{config.seed}-{begin:07d}"
            chunks.append(_Chunk(path, split, begin, end, labels, config, rows))
    try:
        place.mkdir(parents=True, exist_ok=True)
        accounts = _all_made(chunks, workers or _cores(), report)
    except OSError as error:
        raise DataError(
            f"Examples cannot be kept in {folder}: {error.strerror}.", remedy="Name a folder that can be written."
        ) from error
    read: dict[str, list[PlanningExample]] = {"train": [], "valid": []}
    left_out = 0
    for chunk in chunks:
        kept = list(fitting(read_examples(chunk.path), limits))
        left_out += chunk.end - chunk.begin - len(kept)
        read[chunk.split] += kept
    return Dataset(
        train=read["train"],
        valid=read["valid"],
        digest=content_hash([account.digest for account in accounts]),
        left_out=left_out,
        made_s=sum(account.made_s for account in accounts),
        label_s=sum(account.label_s for account in accounts),
    )


def given_data(path: Path, valid: Path | None, prior: Prior, limits: LimitsConfig) -> Dataset:
    """Examples of files, with the prior's scores where they have none yet.

    :param valid: held out; None holds out what :func:`~tomas.training.generate.split_of` names, or one group of
        ten where it names none.
    :raises DataError: a file is missing or malformed, or nothing can be held out because all is of one group.
    """
    found = _of_file(path, prior)
    if valid is not None:
        train, held = found, _of_file(valid, prior)
    else:
        out = {item.group for item in found if split_of(item.group) != "train"} or {
            group for group in {item.group for item in found} if int(content_hash(group), 16) % _HELD_OUT == 0
        }
        train = [item for item in found if item.group not in out]
        held = [item for item in found if item.group in out]
    if not train or not held:
        raise DataError(
            f"{path}: with {len(train)} examples to train on and {len(held)} held out, nothing can be judged.",
            remedy="Give what is held out as a file of its own (--valid).",
        )
    digest = content_hash([_sha256(item) for item in (path, valid) if item is not None])
    kept, kept_held = list(fitting(train, limits)), list(fitting(held, limits))
    return Dataset(kept, kept_held, digest, len(train) + len(held) - len(kept) - len(kept_held))


def fitting(examples: Iterable[PlanningExample], limits: LimitsConfig) -> Iterator[PlanningExample]:
    """The examples that the model can read and learn as a whole."""
    for example in examples:
        given = example.given
        if (
            len(given.candidates) <= limits.max_candidates
            and len(example.target.steps) <= limits.max_steps
            and len(given.classes) <= limits.max_classes
            and len(given.inputs) + len(given.outputs) <= limits.max_inputs
        ):
            yield example


def _all_made(chunks: Sequence[_Chunk], workers: int, report: Callable[[Making], None] | None) -> list[_Account]:
    """The accounts of all files, in their order; what is missing is made."""
    found = {chunk.path: account for chunk in chunks if (account := _account(chunk)) is not None}
    missing = [chunk for chunk in chunks if chunk.path not in found]

    def tell() -> None:
        if report is not None:
            done = sum(chunk.end - chunk.begin for chunk in chunks if chunk.path in found)
            total = sum(chunk.end - chunk.begin for chunk in chunks)
            report(Making(done, total, sum(account.label_s for account in found.values())))

    tell()
    if workers == 1 or len(missing) < 2:
        for chunk in missing:
            found[chunk.path] = _make(chunk)
            tell()
        return [found[chunk.path] for chunk in chunks]
    pool = ProcessPoolExecutor(min(workers, len(missing)), mp_context=get_context("spawn"))
    try:
        waiting = {pool.submit(_make, chunk): chunk for chunk in missing}
        for future in as_completed(waiting):
            found[waiting[future].path] = future.result()
            tell()
    except BrokenProcessPool:
        raise DataError(
            "A process that makes examples was killed.",
            remedy="Run again: what is made is kept. Fewer --workers take less memory.",
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [found[chunk.path] for chunk in chunks]


def _make(chunk: _Chunk) -> _Account:
    """Write one file of examples; runs in a process of its own."""
    config = chunk.config
    generator = _generator(chunk.registry, config.seed, config.languages, chunk.split)
    labeller, prior = Labeller(chunk.labels), prior_of(config)
    share = 1.0 if chunk.split == "valid" else config.labelled_share
    clock = time.process_time()

    def examples() -> Iterator[PlanningExample]:
        for number in range(chunk.begin, chunk.end):
            made = generator.generate(number)
            # Evenly spread over the numbers.
            labelled = int((number + 1) * share) > int(number * share)
            yield _scored(labeller.label(made) if labelled else made.example, prior)

    part = chunk.path.with_name(f".{os.getpid()}-{chunk.path.name}")
    try:
        write_examples(examples(), part)
        part.rename(chunk.path)
    finally:
        part.unlink(missing_ok=True)
    spent = time.process_time() - clock
    with gzip.open(chunk.path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    account = _Account(digest, spent - labeller.spent_s, labeller.spent_s)
    beside = chunk.account.with_name(f".{os.getpid()}-{chunk.account.name}")
    beside.write_text(json.dumps(account.__dict__), encoding="utf-8")
    beside.rename(chunk.account)
    return account


def _account(chunk: _Chunk) -> _Account | None:
    try:
        found = _Account(**json.loads(chunk.account.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if chunk.path.is_file() else None


@lru_cache(maxsize=2)
def _generator(
    registry: tuple[str, ...], seed: int, languages: Literal["en", "zh", "both"], split: Literal["train", "valid"]
) -> Generator:
    specs = specs_of(Tool.model_validate_json(row) for row in registry)
    return Generator(specs, seed=seed, languages=languages, split=split)


@lru_cache(maxsize=1)
def _code() -> str:
    """Hash of the generator's code and catalogue: after a change of either the examples are other ones."""
    known = hashlib.sha256()

    def add(folder: Traversable) -> None:
        for item in sorted(folder.iterdir(), key=lambda item: item.name):
            if item.is_dir():
                add(item)
            elif not item.name.endswith(".pyc"):
                known.update(item.name.encode() + item.read_bytes())

    add(files("tomas.training.generate"))
    for name in ("example.py", "prior.py", "prior_terms.py"):
        known.update((files("tomas.model") / name).read_bytes())
    known.update((files("tomas") / "lexicon.py").read_bytes())
    return known.hexdigest()


def _of_file(path: Path, prior: Prior) -> list[PlanningExample]:
    found = read_examples(path)
    return [example if example.given.retrieval.any() else _scored(example, prior) for example in found]


def _scored(example: PlanningExample, prior: Prior) -> PlanningExample:
    given = example.given
    return replace(example, given=replace(given, retrieval=prior.scores(given.task, given.candidates)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
