"""The neural planner: a request to what the model reads, its answer to a draft."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch

from tomas.config import NeuralSettings, get_settings
from tomas.errors import DataError, NoToolMatches
from tomas.model.checkpoint import Checkpoint
from tomas.model.decode import ChooseModes, Decoder, GiveModes, decode
from tomas.model.drafted import Drafted, DraftedStep
from tomas.model.example import PlanningInput, Source, StepModes
from tomas.model.prior import Prior
from tomas.model.telling import tell
from tomas.neural.cards import argument_value, tool_card
from tomas.neural.checkpoints import KIND, Checkpoints
from tomas.neural.placed import mode_problem, placed_modes
from tomas.neural.proposals import step_modes
from tomas.neural.reading import Fleet, planning_input, read_fleet, rows_by_tool
from tomas.neural.sketch import left_out, with_precedents
from tomas.neural.wording import Wording
from tomas.planner.allowed import allowed_tools, unavailable, usable_tools
from tomas.planner.base import Draft
from tomas.planner.outlook import Outlook
from tomas.planner.skeleton import SkeletonStep, bind_skeleton
from tomas.planner.text import check_task
from tomas.schema import PlanRequest, Resources, Tool
from tomas.tools.registry import Registry

__all__ = ["NeuralPlanner"]

_QUOTED = 120
"""Characters of the task in a warning."""


class NeuralPlanner:
    """Drafts plans with a checkpoint of :mod:`tomas.model`: tools, edges, bindings, arguments, allocations.

    Which one is said in :mod:`tomas.neural.checkpoints`; it is verified and loaded at the first plan, and kept.
    Where it is missing or altered every draft fails with ModelUnavailable, and the retrieval planner takes over;
    with restored files it plans again.
    """

    kind: ClassVar[str] = "neural"

    def __init__(self, settings: NeuralSettings | None = None) -> None:
        self._settings = settings or get_settings().neural
        self._checkpoints = Checkpoints(self._settings)
        self._version = "not loaded"

    @property
    def version(self) -> str:
        """Of the checkpoint that drafted last: its name and the hash of its files; a draft carries its own."""
        return self._version

    def draft(self, request: PlanRequest, registry: Registry) -> Draft:
        """Draft without history and forecasts: no allocations are proposed.

        :raises PlanError: as :meth:`draft_in_context`.
        """
        return self._draft(request, registry, None)

    def draft_in_context(self, request: PlanRequest, registry: Registry, outlook: Outlook) -> Draft:
        """Choose tools for the task, order them, bind their inputs and arguments, propose allocations.

        :raises TaskError: the task is empty, too long or not text.
        :raises NoToolMatches: the model refused, or chose what does not produce a declared result.
        :raises ToolUnavailable: a tool that the task needs is not installed, and may not be planned.
        :raises UnboundInput: a required port or argument has no source.
        :raises ModelUnavailable: the checkpoint is missing or altered.
        """
        return self._draft(request, registry, outlook)

    def _draft(self, request: PlanRequest, registry: Registry, outlook: Outlook | None) -> Draft:
        check_task(request.task)
        loaded = self._checkpoints.get(outlook)
        checkpoint, prior, self._version = loaded.checkpoint, loaded.prior, loaded.version
        registry = registry.with_tools(request.tools) if request.tools else registry
        # Tools that cannot run here are read too: a task that needs one shall say so, and not get another.
        allowed = allowed_tools(request, registry)
        if not allowed:
            raise NoToolMatches("No tool may be planned.", remedy="Allow tools (allowed_tools), or register some.")
        given, fleet = self._read(request, allowed, prior, checkpoint, outlook)

        modes, choose = _allocations(outlook, fleet, given, allowed, checkpoint.config.model.allocation.max_modes)
        began = time.perf_counter()
        try:
            drafted = decode(checkpoint.network, checkpoint.tokenizer, given, modes=modes, choose=choose)
        except DataError as error:
            raise NoToolMatches(f"The model cannot read the request: {error.what}", remedy=error.remedy) from None
        took_ms = (time.perf_counter() - began) * 1000.0
        checkpoint.network.latency.observe(*_counts(checkpoint, given), len(drafted.steps), took_ms)
        draft = self._answer(request, allowed, given, drafted, checkpoint)
        cites = {f"model.{KIND}": loaded.registered} if loaded.registered else {}
        return replace(draft, version=loaded.version, cites=cites)

    def _read(
        self,
        request: PlanRequest,
        allowed: dict[str, Tool],
        prior: Prior,
        checkpoint: Checkpoint,
        outlook: Outlook | None,
    ) -> tuple[PlanningInput, Fleet | None]:
        limits = checkpoint.config.model.limits
        rows = rows_by_tool(outlook.profiles() if outlook else [], allowed)
        cards = [tool_card(tool, rows[name]) for name, tool in allowed.items()]
        scores = prior.scores(request.task, cards)
        given = planning_input(request, cards, scores, limits)
        given = with_precedents(prior, given)
        if outlook is None:
            return given, None
        outlook.expect(checkpoint.network.latency.predict_ms(*_counts(checkpoint, given)))
        fleet = read_fleet(outlook, [card.name for card in given.candidates], limits.max_classes)
        return fleet.shown_in(given), fleet

    def _answer(
        self,
        request: PlanRequest,
        allowed: dict[str, Tool],
        given: PlanningInput,
        drafted: Drafted,
        checkpoint: Checkpoint,
    ) -> Draft:
        def words() -> str:
            free = self._settings.free_text
            return _words(checkpoint, given, drafted, free=free) if self._settings.explain else ""

        if drafted.refuse:
            said = words()
            best = sorted(range(len(given.candidates)), key=lambda k: -float(given.retrieval[k]))[:3]
            nearest = ", ".join(given.candidates[k].name for k in best)
            raise NoToolMatches(
                f"The model finds no tool for the task, and is sure of that to {drafted.refusal:.0%}."
                + (f" It says: {said}" if said else ""),
                remedy=f"Nearest are {nearest}; name what to do with words of theirs, or add a tool that does it.",
            )
        usable, remedies = usable_tools(allowed, request)
        names = [given.candidates[step.tool].name for step in drafted.steps]
        for name in names:
            if name not in usable:
                raise unavailable(name, remedies)
        warnings = [
            f"{name} cannot run here: {remedies[name]}" for name in dict.fromkeys(names) if name in remedies
        ]
        warnings += [
            f"“{item.text[:_QUOTED]}” may ask for {given.candidates[item.tool].name}, which the model did not plan."
            for item in left_out(given, {step.tool for step in drafted.steps})
        ]
        steps = [_skeleton(step, drafted.steps, given, allowed) for step in drafted.steps]
        return bind_skeleton(steps, request, usable, warnings=warnings, tell=words)


def _allocations(
    outlook: Outlook | None, fleet: Fleet | None, given: PlanningInput, tools: dict[str, Tool], most: int
) -> tuple[GiveModes | None, ChooseModes | None]:
    """Where the modes of drafted steps come from, and which of them are proposed; None without a context.

    :param most: modes of one step.
    """
    if outlook is None or fleet is None:
        return None, None

    def modes(steps: Sequence[DraftedStep]) -> list[StepModes]:
        names = sorted({given.candidates[step.tool].name for step in steps})
        return step_modes(steps, given, tools, outlook.context(names), fleet, outlook.settings.planner.prices, most)

    def choose(
        steps: Sequence[DraftedStep], modes: Sequence[StepModes], chances: Sequence[Sequence[float]]
    ) -> list[int]:
        parents, cards = [step.parents for step in steps], [step.modes for step in modes]
        problem, meant = mode_problem(parents, cards, fleet.capacity.tolist(), fleet.free(outlook.curves()))
        return placed_modes(problem, meant, chances)

    return modes, choose


def _counts(checkpoint: Checkpoint, given: PlanningInput) -> tuple[int, int]:
    """What the time of a draft depends on: tokens of the task that are read, candidates."""
    most = checkpoint.config.model.limits.max_sequence
    return min(most, len(checkpoint.tokenizer.encode(given.task[:most])[0])), len(given.candidates)


def _words(checkpoint: Checkpoint, given: PlanningInput, drafted: Drafted, *, free: bool) -> str:
    """What the model says after its plan: the chosen steps are fed again, so that no cache is held until then."""
    if drafted.refuse and not free:
        return ""  # Of a refusal nothing is known but that it is one.
    with torch.inference_mode():
        decoder = Decoder(checkpoint.network, checkpoint.tokenizer, given)
        for step in drafted.steps:
            decoder.choose(step.tool)
        return decoder.explain() if free else tell(decoder, Wording(given, drafted.steps).next_clauses)


def _skeleton(
    step: DraftedStep, steps: Sequence[DraftedStep], given: PlanningInput, tools: dict[str, Tool]
) -> SkeletonStep:
    card = given.candidates[step.tool]
    tool = tools[card.name]

    def named(source: Source) -> tuple[int, str]:
        if source.step < 0:
            return -1, given.inputs[source.index][0]
        return source.step, given.candidates[steps[source.step].tool].outputs[source.index].name

    proposed = None
    if step.proposal is not None:
        cores, memory, share, gpu = step.proposal.amounts
        proposed = Resources(cpu_cores=cores, cpu_mem_gb=memory, gpu_sm=min(share, 100.0), gpu_mem_gb=gpu)
    return SkeletonStep(
        tool=card.name,
        parents=step.parents,
        confidence=step.confidence,
        arguments={name: argument_value(tool, name, text) for name, text in step.arguments},
        sources={
            port.name: [named(item) for item in bound]
            for port, bound in zip(card.inputs, step.bindings, strict=True)
        },
        proposed=proposed,
    )
