"""How near a plan comes to the right one: tools, links, edges."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise

from benchmarks.planning_formats import Request

__all__ = ["Chain", "chain_scores", "f1", "graph_scores"]

Chain = tuple[str, ...]
Edges = frozenset[tuple[int, int]]


def f1(found: Iterable[object], right: Iterable[object]) -> float:
    """Of two sets; 1 where both are empty."""
    a, b = set(found), set(right)
    return 2.0 * len(a & b) / (len(a) + len(b)) if a or b else 1.0


def chain_scores(found: Sequence[Chain], right: Sequence[Request]) -> dict[str, float]:
    """Means over requests: F1 of tools and of ordered pairs that follow one another, share of equal sets."""
    pairs = list(zip(found, right, strict=True))
    return {
        "node_f1": round(statistics.fmean(f1(plan, request.plan) for plan, request in pairs), 4),
        "link_f1": round(statistics.fmean(f1(pairwise(plan), request.links) for plan, request in pairs), 4),
        "exact_set": round(statistics.fmean(set(plan) == set(request.plan) for plan, request in pairs), 4),
    }


def graph_scores(found: Sequence[Edges], right: Sequence[Edges]) -> dict[str, float]:
    """Means over requests: F1 of edges, share of equal graphs."""
    pairs = list(zip(found, right, strict=True))
    return {
        "edge_f1": round(statistics.fmean(f1(a, b) for a, b in pairs), 4),
        "exact_dag": round(statistics.fmean(a == b for a, b in pairs), 4),
    }
