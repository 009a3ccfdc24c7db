"""From tools to a graph: where each input comes from, by media type, stage and name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tomas.errors import NoToolMatches, UnboundInput
from tomas.lexicon import media_of_type
from tomas.planner.results import Producer, results_of
from tomas.planner.selection import Choice
from tomas.planner.text import features, normalise
from tomas.schema import (
    Binding,
    PlanRequest,
    Port,
    RequestBinding,
    RequestInput,
    StepBinding,
    Tool,
    media_type_matches,
)

__all__ = ["Node", "Wiring", "wire"]

_LONGEST_CHAIN = 3
"""A missing input is made by at most this many tools that the task does not name."""


@dataclass
class Node:
    """A step in the making."""

    key: int
    tool: Tool
    choice: Choice
    sources: dict[str, list[tuple[Node, str] | str]] = field(default_factory=dict)
    """Per port: outputs of other nodes, or names of request inputs."""

    @property
    def before(self) -> set[int]:
        """Keys of the nodes this one reads from."""
        return {item[0].key for items in self.sources.values() for item in items if not isinstance(item, str)}


@dataclass(frozen=True)
class Wiring:
    """The nodes in topological order, their ids, the request with the inputs that are still to be given."""

    nodes: list[Node]
    ids: dict[int, str]
    request: PlanRequest
    outputs: dict[str, StepBinding]
    warnings: list[str]

    def bindings(self, node: Node) -> dict[str, list[Binding]]:
        """The bindings of a node's ports."""
        return {
            port: [
                RequestBinding(name=item)
                if isinstance(item, str)
                else StepBinding(step=self.ids[item[0].key], output=item[1])
                for item in items
            ]
            for port, items in node.sources.items()
        }


def wire(
    choices: Sequence[Choice], request: PlanRequest, tools: Mapping[str, Tool], media: frozenset[str]
) -> Wiring:
    """Bind every required input of the chosen tools, adding tools only where one alone can make what is missing.

    :param tools: tools that may be added, by name; the chosen ones are among them.
    :param media: kinds of media that the task names.
    :raises UnboundInput: an input has no source, or several equally good ones.
    :raises NoToolMatches: a declared output is produced by no tool.
    """
    return _Wirer(request, tools, media).run(choices)


def _is_join(tool: Tool) -> bool:
    """Whether a tool gathers results: its first required input takes records, which steps produce."""
    return any(port.required and media_of_type(port.type) == "records" for port in tool.inputs)


class _Wirer:
    def __init__(self, request: PlanRequest, tools: Mapping[str, Tool], media: frozenset[str]) -> None:
        self.request = request
        self.tools = tools
        self.media = media
        self.virtual = not request.inputs
        self.inputs: dict[str, RequestInput] = dict(request.inputs)
        self.nodes: list[Node] = []
        self.warnings: list[str] = []

    def run(self, choices: Sequence[Choice]) -> Wiring:
        ordered = sorted(enumerate(choices), key=lambda item: (item[1].stage, item[0]))
        for _, choice in ordered:
            self._new(choice)
        outputs = self._declared(max((choice.stage for choice in choices), default=0))
        for node in [node for node in self.nodes if not _is_join(node.tool)]:
            self._bind(node)
        for node in [node for node in self.nodes if _is_join(node.tool)]:
            self._join(node)
        ordered_nodes = self._topological()
        ids = {node.key: f"s{number}" for number, node in enumerate(ordered_nodes, start=1)}
        used = {
            item
            for node in self.nodes
            for items in node.sources.values()
            for item in items
            if isinstance(item, str)
        }
        self.warnings += [
            f"The input {name} is used by no step." for name in sorted(set(self.request.inputs) - used)
        ]
        results = self._results(outputs)
        return Wiring(
            ordered_nodes,
            ids,
            self.request.model_copy(update={"inputs": self.inputs}),
            {name: StepBinding(step=ids[node.key], output=port) for name, (node, port) in results.items()},
            self.warnings,
        )

    def _new(self, choice: Choice) -> Node:
        node = Node(len(self.nodes), self.tools[choice.tool], choice)
        self.nodes.append(node)
        return node

    # --- inputs of one node -------------------------------------------------------------------------

    def _bind(self, node: Node) -> None:
        for port in node.tool.inputs:
            if port.name in node.sources:
                continue
            if port.required:
                node.sources[port.name] = self._sources(node, port)
            else:
                self._optional(node, port)

    def _optional(self, node: Node, port: Port) -> None:
        """An optional port takes a request input of its name, or for a join whatever fits it."""
        fitting = self._given(port, node)
        if not _is_join(node.tool):
            fitting = [name for name in fitting if name == port.name]
        if fitting:
            node.sources[port.name] = list(fitting)

    def _sources(self, node: Node, port: Port) -> list[tuple[Node, str] | str]:
        makers = self._makers(node, port)
        earlier = [item for item in makers if item[0].choice.stage < node.choice.stage]
        if earlier:
            latest = max(item[0].choice.stage for item in earlier)
            return [item for item in earlier if item[0].choice.stage == latest]
        given = self._given(port, node)
        beside = [item for item in makers if item[0].choice.stage >= node.choice.stage]
        preceding = [item for item in beside if item[0].key < node.key]
        near = preceding[-1:] or beside[:1]
        if given and not self.virtual:
            return list(given)
        kind = media_of_type(port.type)
        # Of two tools named side by side, one feeds the other if it turns another kind of data into what is
        # missing; tools that keep the kind both work on the same files.
        converts = [item for item in near if kind not in _kinds(item[0].tool)]
        if converts or (near and not self.virtual):
            return list(converts or near)
        chain = self._chain(port, node)
        if chain:
            return [chain]
        if self.virtual:
            return [self._ask(port)]
        raise self._unbound(node, port)

    def _makers(self, node: Node, port: Port) -> list[tuple[Node, str]]:
        """Outputs of other nodes that fit the port and do not depend on the node."""
        return [
            (other, out.name)
            for other in self.nodes
            if other is not node and not self._reads(other, node.key)
            for out in other.tool.outputs
            if media_type_matches(out.type, port.type)
        ]

    def _reads(self, node: Node, key: int) -> bool:
        """Whether ``node`` reads, directly or not, from the node ``key``."""
        border, seen = [node], {node.key}
        while border:
            for before in border.pop().before:
                if before == key:
                    return True
                if before not in seen:
                    seen.add(before)
                    border.append(self.nodes[before])
        return False

    def _given(self, port: Port, node: Node) -> list[str]:
        """Request inputs of the port's type: those that the task names beside the tool, else all."""
        fitting = [name for name, item in self.inputs.items() if media_type_matches(item.type, port.type)]
        if len(fitting) <= 1:
            return fitting
        said = features(node.choice.text)
        named = [name for name in fitting if features(normalise(name.replace("_", " "))).terms & said.terms]
        return named or [name for name in fitting if name == port.name] or fitting

    def _ask(self, port: Port) -> str:
        """A request input, without files yet, named after the port that needs it."""
        name, number = port.name, 2
        while name in self.inputs and not media_type_matches(self.inputs[name].type, port.type):
            name, number = f"{port.name}_{number}", number + 1
        if name not in self.inputs:
            self.inputs[name] = RequestInput(type=port.type, uris=[])
            self.warnings.append(
                f"The input {name} ({port.type}) is not given yet; the plan cannot run without it."
            )
        return name

    # --- tools that the task does not name ----------------------------------------------------------

    def _chain(self, port: Port, node: Node) -> tuple[Node, str] | None:
        """Add the one shortest chain of tools that makes ``port`` from what is given (or named)."""
        kind = media_of_type(port.type)
        if self.virtual and (not self.media or kind in self.media):
            return None
        for length in range(1, _LONGEST_CHAIN + 1):
            chains = list(self._chains(port.type, length, frozenset({node.tool.name})))
            if len(chains) == 1:
                return self._grow(chains[0], port, node)
            if chains:
                if self.virtual:
                    return None
                names = ", ".join(sorted(" → ".join(tool.name for tool in chain) for chain in chains)[:4])
                raise UnboundInput(
                    f"{node.tool.name} needs {port.type} for its input {port.name}; several make that: {names}.",
                    remedy="Name in the task the one to use, or give that input.",
                )
        return None

    def _chains(self, wanted: str, length: int, used: frozenset[str]) -> Iterable[list[Tool]]:
        for name, tool in sorted(self.tools.items()):
            required = [port for port in tool.inputs if port.required]
            if name in used or len(required) != 1:
                continue
            if not any(media_type_matches(out.type, wanted) for out in tool.outputs):
                continue
            if self._at_hand(required[0]):
                if length == 1:
                    yield [tool]
            elif length > 1:
                for chain in self._chains(required[0].type, length - 1, used | {name}):
                    yield [*chain, tool]

    def _at_hand(self, port: Port) -> bool:
        if self.virtual:
            return media_of_type(port.type) in self.media
        return any(media_type_matches(item.type, port.type) for item in self.inputs.values())

    def _grow(self, chain: list[Tool], port: Port, node: Node) -> tuple[Node, str]:
        choice = node.choice
        made: tuple[Node, str] | None = None
        for number, tool in enumerate(chain):
            wanted = port.type if number == len(chain) - 1 else _required(chain[number + 1]).type
            out = next(item for item in tool.outputs if media_type_matches(item.type, wanted))
            present = next((item for item in self.nodes if item.tool.name == tool.name), None)
            if present is None:
                present = self._new(
                    Choice(tool.name, choice.score, choice.confidence, choice.stage, choice.text, ())
                )
                first = _required(tool)
                if made:
                    present.sources[first.name] = [made]
                else:
                    present.sources[first.name] = list(self._given(first, present) or [self._ask(first)])
                self.warnings.append(
                    f"{tool.name} was added: {node.tool.name} needs {wanted}, which the task does not bring."
                )
            made = (present, out.name)
        assert made is not None  # noqa: S101  (a chain has at least one tool)
        return made

    # --- joins, results, order ----------------------------------------------------------------------

    def _join(self, node: Node) -> None:
        """A join takes the results that nothing else reads, and what the request brings of their type."""
        for port in node.tool.inputs:
            if not port.required:
                self._optional(node, port)
                continue
            read = {
                (item[0].key, item[1])
                for other in self.nodes
                for items in other.sources.values()
                for item in items
                if not isinstance(item, str)
            }
            leaves = [
                item
                for item in self._makers(node, port)
                if (item[0].key, item[1]) not in read and (not _is_join(item[0].tool) or item[0].key < node.key)
            ]
            sources: list[tuple[Node, str] | str] = [*leaves, *self._given(port, node)]
            if not sources:
                sources = self._sources(node, port)
            node.sources[port.name] = sources

    def _unbound(self, node: Node, port: Port) -> UnboundInput:
        given = ", ".join(f"{name} ({item.type})" for name, item in self.inputs.items()) or "none"
        return UnboundInput(
            f"The input {port.name} ({port.type}) of {node.tool.name} has no source; given inputs: {given}.",
            remedy=f"Give an input of type {port.type}, or name in the task how to make one.",
        )

    def _declared(self, last_stage: int) -> dict[str, str]:
        """Make sure that some node produces each declared result; returns their types."""
        for name, wanted in self.request.outputs.items():
            if any(media_type_matches(out.type, wanted) for node in self.nodes for out in node.tool.outputs):
                continue
            makers = [
                tool
                for tool in self.tools.values()
                if any(media_type_matches(out.type, wanted) for out in tool.outputs)
            ]
            named = [tool for tool in makers if tool.output(name) or tool.name == name]
            fitting = named or makers
            if len(fitting) != 1:
                what = (
                    f"no tool produces {wanted}"
                    if not fitting
                    else f"several tools produce {wanted} ({', '.join(sorted(tool.name for tool in fitting)[:6])})"
                )
                raise NoToolMatches(
                    f"The declared result {name} ({wanted}) is produced by no tool that the task names; {what}.",
                    remedy="Name in the task the tool that produces it, or declare another type.",
                )
            self._new(Choice(fitting[0].name, 0.5, 0.5, last_stage + 1, name, ()))
            self.warnings.append(f"{fitting[0].name} was added: it produces the declared result {name}.")
        return dict(self.request.outputs)

    def _results(self, declared: Mapping[str, str]) -> dict[str, tuple[Node, str]]:
        read = {key for node in self.nodes for key in node.before}
        producers = [Producer(node.key, node.tool, node.key not in read, node.choice.stage) for node in self.nodes]
        return {name: (self.nodes[key], port) for name, (key, port) in results_of(producers, declared).items()}

    def _topological(self) -> list[Node]:
        """Nodes after those they read from; ties by stage and mention."""
        done: set[int] = set()
        result: list[Node] = []
        while len(result) < len(self.nodes):
            ready = [node for node in self.nodes if node.key not in done and node.before <= done]
            if not ready:
                stuck = ", ".join(node.tool.name for node in self.nodes if node.key not in done)
                raise UnboundInput(
                    f"The tools {stuck} would each wait for another's result.",
                    remedy="Say in the task which comes first, with “then”.",
                )
            node = min(ready, key=lambda item: (item.choice.stage, item.key))
            done.add(node.key)
            result.append(node)
        return result


def _kinds(tool: Tool) -> set[str]:
    return {media_of_type(port.type) for port in tool.inputs if port.required}


def _required(tool: Tool) -> Port:
    return next(port for port in tool.inputs if port.required)
