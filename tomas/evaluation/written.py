"""The hand-written requests, as the planner meets them: over a registry with further tools, on shipped workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tomas.config import NeuralSettings, Settings
from tomas.errors import DataError, NoToolMatches, PlanError
from tomas.evaluation.answers import Answer
from tomas.evaluation.cases import Case
from tomas.model.config import LimitsConfig
from tomas.model.prior import Prior
from tomas.neural.cards import tool_card
from tomas.neural.planner import NeuralPlanner
from tomas.neural.reading import planning_input, read_fleet, rows_by_tool
from tomas.neural.sketch import with_precedents
from tomas.planner.base import Draft
from tomas.planner.context import load_context
from tomas.planner.outlook import Outlook
from tomas.planner.retrieval import RetrievalPlanner
from tomas.schema import PlanRequest, RequestInput, utc_now
from tomas.tools.data import load_profiles
from tomas.tools.registry import Registry

__all__ = [
    "World",
    "WrittenRequest",
    "accepted",
    "read_requests",
    "read_world",
    "retrieval_answers",
    "written_cases",
]


class WrittenRequest(BaseModel):
    """One line of a file of requests.

    :ivar inputs: media types by name.
    :ivar tools: the set that must be chosen; empty where ``refuse``.
    :ivar edges: which reads from which.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    language: str
    task: str
    inputs: dict[str, str] = {}
    tools: tuple[str, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()
    refuse: bool = False

    def as_request(self) -> PlanRequest:
        """As a user would send it; tools that cannot run on this machine may be planned."""
        inputs = {name: RequestInput(type=media, uris=[f"in/{name}"]) for name, media in self.inputs.items()}
        return PlanRequest(task=self.task, inputs=inputs, allow_unavailable=True)


@dataclass(frozen=True)
class World:
    """What requests are planned over.

    :ivar extra: names of the tools that were added to the registry; training shows none of them.
    """

    registry: Registry
    extra: frozenset[str]
    outlook: Outlook


def read_requests(path: Path) -> list[WrittenRequest]:
    """Read a file of JSON lines.

    :raises DataError: it is missing, or a line is refused; file, line and field are named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.", remedy="Name a file of JSON lines.") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            request = WrittenRequest.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "(line)"
            raise DataError(
                f"{path}, line {number}, field {field}: {first['msg']}.", remedy="Correct that line."
            ) from None
        known = set(request.tools)
        if request.refuse != (not known) or any(name not in known for edge in request.edges for name in edge):
            raise DataError(
                f"{path}, line {number} ({request.id}): tools, edges and refuse contradict one another.",
                remedy="Give tools or refuse, and edges between these tools alone.",
            )
        found.append(request)
    return found


def read_world(extra_tools: Path | None, settings: Settings) -> World:
    """The registry with further tools, on the workers and with the profiles that the settings name; no store.

    :raises DataError: a file is missing or damaged.
    """
    registry = Registry.load(settings.data.tools_path)
    extra = list(Registry.load(extra_tools)) if extra_tools is not None else []
    registry = registry.with_tools(extra)
    now = utc_now()

    def read(tools: Any) -> Any:
        return load_context(
            PlanRequest(task="any"),
            store=None,
            registry=registry,
            settings=settings,
            profiles=None,
            worker_classes=None,
            now=now,
            tools=tools,
        )

    outlook = Outlook(read, lambda: load_profiles(settings.data.profiles_path), None, settings)
    outlook.context(registry.names)
    return World(registry, frozenset(tool.name for tool in extra), outlook)


def written_cases(
    requests: Sequence[WrittenRequest], world: World, prior: Prior, limits: LimitsConfig
) -> list[Case]:
    """The requests as the neural planner reads them; what narrowing drops stays part of the right answer.

    :raises DataError: a request needs a tool that is not there.
    """
    tools = {tool.name: tool for tool in world.registry}
    rows = rows_by_tool(world.outlook.profiles(), tools)
    cards = [tool_card(tool, rows[name]) for name, tool in tools.items()]
    fleet = read_fleet(world.outlook, list(tools), limits.max_classes)
    found = []
    for item in requests:
        for name in item.tools:
            if name not in tools:
                raise DataError(
                    f"The request {item.id} needs {name}, which is no tool of the registry.",
                    remedy="Add the file of further tools (--extra-tools).",
                )
        request = item.as_request()
        given = with_precedents(prior, planning_input(request, cards, prior.scores(request.task, cards), limits))
        found.append(
            Case(
                id=item.id,
                given=fleet.shown_in(given),
                tools=item.tools,
                edges=frozenset(item.edges),
                unseen=world.extra.intersection(item.tools),
            )
        )
    return found


def accepted(
    requests: Sequence[WrittenRequest],
    answers: Sequence[Answer],
    world: World,
    checkpoint: Path,
    report: Callable[[int], None],
) -> tuple[int, int]:
    """How many of the drafts become a plan with all ports bound and all arguments valid, by the planner itself.

    :return: these, and all requests that the model does not refuse.
    """
    planner = NeuralPlanner(NeuralSettings(checkpoint=checkpoint, explain=False))
    good = tried = 0
    for number, (item, answer) in enumerate(zip(requests, answers, strict=True), start=1):
        if not answer.refuse:
            tried += 1
            try:
                planner.draft_in_context(item.as_request(), world.registry, world.outlook)
            except PlanError:
                pass
            else:
                good += 1
        report(number)
    return good, tried


def retrieval_answers(requests: Sequence[WrittenRequest], world: World) -> list[Answer]:
    """What the retrieval planner drafts; where it cannot bind an input, nothing."""
    planner = RetrievalPlanner()
    return [_drafted(planner, item, world) for item in requests]


def _drafted(planner: RetrievalPlanner, item: WrittenRequest, world: World) -> Answer:
    try:
        draft: Draft = planner.draft(item.as_request(), world.registry)
    except NoToolMatches:
        return Answer((), frozenset(), (), 1.0)
    except PlanError:
        return Answer((), frozenset(), (), 0.0)
    names = {step.id: step.tool for step in draft.steps}
    edges = {(names[before], step.tool) for step in draft.steps for before in step.depends_on}
    return Answer(
        tuple(step.tool for step in draft.steps),
        frozenset(edges),
        tuple(step.confidence for step in draft.steps),
        0.0,
    )
