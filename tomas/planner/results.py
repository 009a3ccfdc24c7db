"""Which outputs of a graph of tools are its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tomas.planner.text import features, normalise
from tomas.schema import Tool, media_type_matches

__all__ = ["Producer", "results_of"]


@dataclass(frozen=True)
class Producer:
    """A step that may produce a result.

    :ivar key: names the step.
    :ivar leaf: nothing reads from it.
    :ivar stage: the later one wins.
    """

    key: int
    tool: Tool
    leaf: bool
    stage: int


def results_of(producers: Sequence[Producer], declared: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    """The key and output port that each declared result comes from; without declared ones, all of the leaves'.

    Of several that fit a declared type, one that is not taken yet wins, then one whose port or tool is called
    like the result, then a leaf, then the latest.

    :param declared: media types by name; each is produced by at least one of ``producers``.
    """
    results: dict[str, tuple[int, str]] = {}
    if not declared:
        for producer in producers:
            if not producer.leaf:
                continue
            for out in producer.tool.outputs:
                name = out.name if out.name not in results else f"{out.name}_{producer.tool.name}"
                if name in results:
                    name = f"{name}_{producer.key}"
                results[name] = (producer.key, out.name)
        return results
    taken: set[tuple[int, str]] = set()
    for name, wanted in declared.items():
        said = features(normalise(name.replace("_", " "))).terms
        offers = [
            (
                (producer.key, out.name) not in taken,
                out.name == name,
                len(said & _terms(producer.tool)),
                producer.leaf,
                producer.stage,
                producer.key,
                out.name,
            )
            for producer in producers
            for out in producer.tool.outputs
            if media_type_matches(out.type, wanted)
        ]
        best = max(offers)
        taken.add((best[-2], best[-1]))
        results[name] = (best[-2], best[-1])
    return results


def _terms(tool: Tool) -> frozenset[str]:
    return features(normalise(f"{tool.name.replace('_', ' ')} {tool.description}")).terms
