"""All figures of one checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from tomas.config import Settings
from tomas.errors import DataError
from tomas.evaluation.ablation import ablation
from tomas.evaluation.allocations import Proposed, makespan_table, mode_metrics
from tomas.evaluation.answers import answer, proposals
from tomas.evaluation.cases import Case, generated_cases
from tomas.evaluation.plans import Bin, Metrics, Pair, calibration, paired_error, plan_metrics
from tomas.evaluation.recall import recall_metrics, tool_ranks
from tomas.evaluation.sensitivity import sensitivity
from tomas.evaluation.warned import warning_metrics
from tomas.evaluation.written import (
    WrittenRequest,
    accepted,
    read_requests,
    read_world,
    retrieval_answers,
    written_cases,
)
from tomas.model.checkpoint import Checkpoint, load_checkpoint
from tomas.model.prior import Prior, load_prior
from tomas.tools.registry import Registry
from tomas.training.generate.split import Split

__all__ = ["Report", "Told", "Wanted", "evaluate"]

_ASKED = 120
"""Cases that are looked at under other curves; each takes up to four more plans."""
Table = dict[str, Metrics]
Told = Callable[[str, int, int], None]
"""Is told of the part of the evaluation, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Wanted:
    """What to evaluate on.

    :ivar requests: files of hand-written requests.
    :ivar extra_tools: tools besides the registry, over which those are.
    :ivar generated: examples of the generator; 0: none.
    :ivar ablate: cases of either kind for the ablation; 0: none.
    :ivar labels: folder that keeps labels of the exact scheduler.
    """

    requests: tuple[Path, ...] = ()
    extra_tools: Path | None = None
    generated: int = 400
    split: Split = "test"
    limit: int | None = None
    ablate: int = 0
    labels: Path | None = None


@dataclass
class Report:
    """Figures by part, then row, then column; what a column means its maker says.

    :ivar generated: plans on the generator's cases, by slice. See :func:`~tomas.evaluation.plans.plan_metrics`.
    :ivar allocation: see :func:`~tomas.evaluation.allocations.mode_metrics`.
    :ivar makespan: see :func:`~tomas.evaluation.allocations.makespan_table`; ``makespan_given`` is of all labelled
        plans, the model being given the right tools.
    :ivar written: plans on the hand-written requests, by language; and the retrieval planner's.
    :ivar recall: see :func:`~tomas.evaluation.recall.recall_metrics`.
    :ivar warned: plans with a warning that a tool may be missing; see
        :func:`~tomas.evaluation.warned.warning_metrics`.
    :ivar parse_success: share of drafts on the hand-written requests that become a bound, valid plan.
    """

    version: str
    notes: dict[str, Any]
    generated: Table = field(default_factory=dict)
    allocation: Table = field(default_factory=dict)
    makespan: Table = field(default_factory=dict)
    makespan_given: Table = field(default_factory=dict)
    sensitivity: Table = field(default_factory=dict)
    written: Table = field(default_factory=dict)
    recall: Table = field(default_factory=dict)
    warned: Table = field(default_factory=dict)
    ablation: Table = field(default_factory=dict)
    calibration: dict[str, list[Bin]] = field(default_factory=dict)
    parse_success: float | None = None
    ms_per_request: float | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data, numbers rounded to six digits."""
        data: dict[str, Any] = _rounded(asdict(self))
        return data


def evaluate(folder: Path, wanted: Wanted, settings: Settings, *, told: Told | None = None) -> Report:
    """Measure a checkpoint. Takes a few minutes of one processor.

    :raises ModelUnavailable: the checkpoint is missing or altered.
    :raises DataError: a file of requests or tools is missing or damaged, or there is nothing to evaluate on.
    """
    begun = time.process_time()
    told = told or _silent
    torch.set_num_threads(settings.neural.threads)
    checkpoint = load_checkpoint(folder, device=settings.neural.device)
    prior = load_prior(checkpoint.files)
    report = Report(checkpoint.version, dict(checkpoint.notes))
    requests = [item for path in wanted.requests for item in read_requests(path)[: wanted.limit]]
    count = wanted.generated if wanted.limit is None else min(wanted.generated, wanted.limit)
    if not requests and not count:
        raise DataError("There is nothing to evaluate on.", remedy="Name requests, or generate some.")
    cases = _generated(checkpoint, prior, count, wanted, settings, report, told) if count else []
    written = _written(checkpoint, folder, prior, requests, wanted, settings, report, told) if requests else []
    if wanted.ablate:
        few, some = _spread(cases, wanted.ablate), _spread(written, wanted.ablate)
        total = len(few) + len(some)
        report.ablation = ablation(
            checkpoint, few, some, report=lambda name, done: told(f"ablation: {name}", done, total)
        )
    report.seconds = time.process_time() - begun
    return report


def _generated(
    checkpoint: Checkpoint,
    prior: Prior,
    count: int,
    wanted: Wanted,
    settings: Settings,
    report: Report,
    told: Told,
) -> list[Case]:
    cases = generated_cases(
        count,
        Registry.load(settings.data.tools_path),
        prior,
        checkpoint.config.model.limits,
        split=wanted.split,
        labels=wanted.labels,
        report=lambda done: told("generated requests: labels", done, count),
    )
    pairs = _answers(checkpoint, cases, "generated requests: plans", told)
    report.generated = _slices(pairs)
    report.calibration["generated"] = calibration(pairs)
    report.warned |= {f"generated, {kind}": row for kind, row in warning_metrics(pairs).items()}
    report.ms_per_request = median(found.ms for _, found in pairs)
    proposed: list[Proposed] = []
    given: list[Proposed] = []
    languages: list[str] = []
    for number, (case, found) in enumerate(pairs, start=1):
        if case.allocation is not None:
            right = set(found.tools) == set(case.tools)
            order = found.tools if right else case.tools
            modes = proposals(checkpoint, case, order, placed=True)
            drafted = proposals(checkpoint, case, order, placed=True, own_edges=True)
            proposed.append(Proposed(case.allocation, modes if right else None, drafted))
            given.append(Proposed(case.allocation, modes, drafted))
            languages.append(case.language)
        told("generated requests: allocations", number, len(pairs))
    report.allocation = {"all": mode_metrics(proposed)}
    for language in sorted(set(languages)):
        own = [item for item, other in zip(proposed, languages, strict=True) if other == language]
        report.allocation[language] = mode_metrics(own)
    report.allocation["all, right tools given"] = mode_metrics(given)
    told("makespans", 0, 2)
    report.makespan = makespan_table(proposed)
    told("makespans", 1, 2)
    report.makespan_given = makespan_table(given)
    told("makespans", 2, 2)
    some = _spread(cases, _ASKED)
    report.sensitivity = sensitivity(
        checkpoint, some, report=lambda done: told("sensitivity to curves", done, len(some))
    )
    return cases


def _written(
    checkpoint: Checkpoint,
    folder: Path,
    prior: Prior,
    requests: Sequence[WrittenRequest],
    wanted: Wanted,
    settings: Settings,
    report: Report,
    told: Told,
) -> list[Case]:
    world = read_world(wanted.extra_tools, settings)
    cases = written_cases(requests, world, prior, checkpoint.config.model.limits)
    pairs = _answers(checkpoint, cases, "hand-written requests: plans", told)
    others = list(zip(cases, retrieval_answers(requests, world), strict=True))
    report.written = _by_language(pairs, "")
    halves = [[pair for pair in pairs if pair[0].language == language] for language in ("en", "zh")]
    if all(halves):
        report.written["zh − en, by chance ±"] = paired_error(halves[0], halves[1])
    report.written |= _by_language(others, "retrieval planner, ")
    report.calibration["hand-written"] = calibration(pairs)
    report.warned |= {f"hand-written, {kind}": row for kind, row in warning_metrics(pairs).items()}
    ranks = []
    for number, pair in enumerate(pairs, start=1):
        ranks.append(tool_ranks(checkpoint, pair))
        told("hand-written requests: ranks", number, len(pairs))
    for language in ("all", *sorted({case.language for case in cases})):
        rows = [place for place, case in enumerate(cases) if language in ("all", case.language)]
        table = recall_metrics([pairs[row] for row in rows], [ranks[row] for row in rows])
        report.recall |= {f"{language}, {name}": row for name, row in table.items()}
    good, tried = accepted(
        requests,
        [found for _, found in pairs],
        world,
        folder,
        lambda done: told("hand-written requests: drafts", done, len(requests)),
    )
    report.parse_success = good / tried if tried else None
    return cases


def _answers(checkpoint: Checkpoint, cases: Sequence[Case], part: str, told: Told) -> list[Pair]:
    pairs: list[Pair] = []
    for number, case in enumerate(cases, start=1):
        pairs.append((case, answer(checkpoint, case.given)))
        told(part, number, len(cases))
    return pairs


def _slices(pairs: Sequence[Pair]) -> Table:
    """All, and by language, by whether training showed all needed tools, by steps, by family of phrasing."""
    table = _by_language(pairs, "")
    slices: dict[str, list[Pair]] = {}
    for pair in pairs:
        case = pair[0]
        if not case.refuse:
            slices.setdefault("some tool never trained on" if case.unseen else "tools trained on", []).append(pair)
            steps = len(case.tools)
            slices.setdefault("1 step" if steps == 1 else "2–3 steps" if steps <= 3 else "4+ steps", []).append(
                pair
            )
        slices.setdefault(f"phrasing {case.family}", []).append(pair)
    return table | {name: plan_metrics(slices[name]) for name in sorted(slices)}


def _by_language(pairs: Sequence[Pair], prefix: str) -> Table:
    """All, each language, and by how much Chinese is better than English."""
    table = {f"{prefix}all": plan_metrics(pairs)}
    for language in ("en", "zh"):
        own = [pair for pair in pairs if pair[0].language == language]
        if own:
            table[f"{prefix}{language}"] = plan_metrics(own)
    if len(table) == 3:
        english, chinese = table[f"{prefix}en"], table[f"{prefix}zh"]
        table[f"{prefix}zh − en"] = {
            name: None if value is None or (other := chinese[name]) is None else other - value
            for name, value in english.items()
            if name != "requests"
        }
    return table


def _spread(cases: Sequence[Case], most: int) -> list[Case]:
    """At most so many, evenly from all."""
    count = min(most, len(cases))
    return [cases[number * len(cases) // count] for number in range(count)]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def _silent(part: str, done: int, total: int) -> None:
    """Tells nobody."""
