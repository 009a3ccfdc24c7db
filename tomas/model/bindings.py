"""Plans that leave no step without use: a request that declares its results wants nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from tomas.model.choosable import Choosable
from tomas.model.example import PlanningInput, Source, ToolCard
from tomas.schema import media_type_matches

__all__ = ["Bindings", "result_last", "use_all"]

Bindings = list[tuple[tuple[Source, ...], ...]]
"""Per step and input port the sources."""


def result_last(given: PlanningInput, tools: Sequence[int]) -> list[int]:
    """The order of steps in which the one that makes the only declared result is the last, so that it can read all.

    The order is kept where several steps can make that result or none does, and where another step could then not
    run for want of what this one makes.

    :param tools: of the steps, as indices into the candidates.
    """
    order = list(range(len(tools)))
    makers = [step for step in order if _declared(given.candidates[tools[step]], given)]
    if len(given.outputs) != 1 or len(makers) != 1:
        return order
    order.remove(makers[0])
    order += makers
    moved = [tools[step] for step in order]
    able = Choosable(given, repeats=True)
    return order if all(able.after(moved[:n])[tool] for n, tool in enumerate(moved)) else sorted(order)


def use_all(
    bindings: Bindings,
    given: PlanningInput,
    tools: Sequence[int],
    sources: Sequence[Source],
    chances: Sequence[Sequence[Sequence[float]]],
    fits: Sequence[Sequence[Sequence[bool]]],
) -> Bindings:
    """Let what a step makes be read by the likeliest port, where nothing reads it and it is no declared result.

    Where the request declares none, or no port takes what the step makes, nothing is changed.

    :param tools: of the steps, as indices into the candidates.
    :param sources: what may be bound.
    :param chances: of each source, per step and port.
    :param fits: whether a port may read a source, likewise; nothing but what earlier steps make.
    """
    if not given.outputs:
        return bindings
    read = {source.step for ports in bindings for port in ports for source in port}
    found = [[list(port) for port in ports] for ports in bindings]
    for step, tool in enumerate(tools):
        if step in read or _declared(given.candidates[tool], given):
            continue
        places = [
            (chances[s][q][n], s, q, n)
            for s, ports in enumerate(found)
            for q in range(len(ports))
            for n, source in enumerate(sources)
            if source.step == step and fits[s][q][n]
        ]
        if places:
            _, s, q, n = max(places, key=lambda place: (place[0], *(-i for i in place[1:])))
            found[s][q].append(sources[n])
    return [tuple(tuple(port) for port in ports) for ports in found]


def _declared(card: ToolCard, given: PlanningInput) -> bool:
    return any(media_type_matches(port.media_type, media) for port in card.outputs for media in given.outputs)
