"""Each check of the verifier is disabled in turn; the corpus of good and corrupted plans notices every time.

A mutant is the verifier with one change: a violation that is no longer yielded, a comparison that is negated or
whose boundary moves, a condition that lost a part, a limit that became a thousand times as large. It is caught
where a good plan is refused, or a corrupted one is released or refused without naming the corruption. What
survives stands in ``EQUIVALENT``, with the reason why no plan can tell it from the original.
"""

from __future__ import annotations

import ast
import copy
import re
import signal
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

import tomas.verify
from tests.unit.verify.specimens import Specimen, catalogue, dips, edges, large, verdict, words
from tomas.verify import checker

FOLDER = Path(tomas.verify.__file__).parent
MODULES = ["checker", "shape", "graph", "clock", "typing", "routing", "load", "budget"]
PER_KIND = 5
GOOD = 60

EQUIVALENT = {
    "shape._faults: '\\\\u0000' in text and _NUL.search(text): without '\\\\u0000' in text": (
        "the slow search finds nothing where the quick one does not"
    ),
    "shape.short: len(text) <= 80: boundary 0 moved": "a message is a few characters shorter",
    "load.check_load: len(names) > 1: boundary 0 moved": "the sweep of a pool's only bin has counted its slots",
    "load._units: value >= 2 ** 52: boundary 0 moved": "at that very number both ways give the same",
    "load._shown: amount < 2 ** 1000: boundary 0 moved": "either way of writing that number serves",
    "load._edges: min((start for start, _, _ in own)) + shift: operator turned round": (
        "edges before the first step are looked at too, where nothing is loaded"
    ),
    "load._edges: last / curve.step_ms: operator turned round": (
        "edges after the last step are looked at too, where nothing is loaded"
    ),
    "load.advance: self._ends[self._next_end][0] <= instant: boundary 0 moved": (
        "the end was brought forward by the tolerance; at exactly that either verdict is right"
    ),
}


@lru_cache(maxsize=1)
def corpus() -> list[Specimen]:
    """Edges first, since what they show is the most precise."""
    return [*edges(), *words(), *dips(), *catalogue(GOOD, PER_KIND)]


@lru_cache(maxsize=1)
def visits() -> dict[tuple[str, int], list[int]]:
    """The specimens that come past each line of the verifier."""
    found: dict[tuple[str, int], list[int]] = {}
    seen: set[tuple[str, int]] = set()
    files = {str(FOLDER / f"{name}.py"): name for name in MODULES}

    def local(frame: types.FrameType, event: str, _: Any) -> Any:
        if event == "line":
            seen.add((files[frame.f_code.co_filename], frame.f_lineno))
        return local

    def calls(frame: types.FrameType, event: str, _: Any) -> Any:
        return local if frame.f_code.co_filename in files else None

    for i, item in enumerate(corpus()):
        seen.clear()
        before = sys.gettrace()
        sys.settrace(calls)
        try:
            wrong = verdict(tomas.verify.verify_plan, item)
        finally:
            sys.settrace(before)
        assert not wrong, f"{item.name}: {wrong}"
        for place in seen:
            found.setdefault(place, []).append(i)
    return found


OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}


@dataclass(frozen=True)
class Mutant:
    name: str
    module: str
    lines: range
    tree: ast.Module


_LONGEST_S = 20.0
"""Of processor time; a mutant that takes longer over one plan loops."""
_TOLERANCES = re.compile("TOLERANCE|EPSILON|ROUNDED|EARLY|RELATIVE|MAX_MS")
"""At exactly a tolerance either verdict is right, so moving that boundary is no fault."""
BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What a node may be replaced by."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Yield | ast.YieldFrom):
        yield "is not said", ast.If(ast.Constant(False), [node], [])
    if isinstance(node, ast.Return) and isinstance(node.value, ast.List | ast.ListComp):
        yield "is not said", ast.Return(ast.List([], ast.Load()))
    if isinstance(node, ast.Raise):
        yield "is not raised", ast.Pass()
    if isinstance(node, ast.Compare):
        yield "negated", ast.UnaryOp(ast.Not(), node)
        for i, operator in enumerate(node.ops):
            if type(operator) in BOUNDARY and not _TOLERANCES.search(ast.unparse(node)):
                moved = copy.copy(node)
                moved.ops = [*node.ops[:i], BOUNDARY[type(operator)](), *node.ops[i + 1 :]]
                yield f"boundary {i} moved", moved
    if isinstance(node, ast.BoolOp):
        for i, part in enumerate(node.values):
            rest = [*node.values[:i], *node.values[i + 1 :]]
            yield f"without {ast.unparse(part)}", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "negated", node.operand
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OPPOSITE:
        turned = copy.copy(node)
        turned.op = OPPOSITE[type(node.op)]()
        yield "operator turned round", turned
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name | ast.Call | ast.Attribute | ast.YieldFrom):
        yield (
            f"if {ast.unparse(node.test)}: negated",
            ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse),
        )


def limits(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Module constants, a thousand times as large."""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
        value = node.value.value
        if type(value) in (int, float):
            yield "a thousand times", ast.Assign(node.targets, ast.Constant(value * 1000), lineno=node.lineno)


def mutants(module: str) -> Iterator[Mutant]:
    """All mutants of a module, named by function, what is changed, and how."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    for parent, function, field, index in _places(tree):
        value = getattr(parent, field)
        node = value if index is None else value[index]
        for how, new in [*changes(node), *(limits(node) if isinstance(parent, ast.Module) else ())]:
            fixed = ast.fix_missing_locations(ast.copy_location(new, node))
            _put(parent, field, index, fixed)
            mutated = copy.deepcopy(tree)
            _put(parent, field, index, node)
            what = ast.unparse(node.test if isinstance(node, ast.If) else node)
            name = f"{module}.{function}: {' '.join(what.split())[:90]}: {how}"
            yield Mutant(name, module, range(node.lineno, (node.end_lineno or node.lineno) + 1), mutated)


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _places(tree: ast.Module) -> list[tuple[ast.AST, str, str, int | None]]:
    found: list[tuple[ast.AST, str, str, int | None]] = []

    def walk(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        for field, value in ast.iter_fields(node):
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    if hasattr(child, "lineno"):
                        found.append((node, function, field, index))
                    walk(child, function)

    walk(tree, "")
    return found


@contextmanager
def put_in_place(mutant: Mutant) -> Iterator[Callable[..., None]]:
    """The verifier with the mutant in the place of one of its modules."""
    fresh = types.ModuleType(f"tomas.verify.{mutant.module}")
    sys.modules["_mutant"] = fresh  # dataclasses look their module up
    fresh.__dict__["__name__"] = "_mutant"
    exec(compile(mutant.tree, f"<{mutant.name}>", "exec"), fresh.__dict__)  # noqa: S102
    if mutant.module == "checker":
        yield fresh.verify_plan
        return
    kept = {name: getattr(checker, name) for name in fresh.__all__ if hasattr(checker, name)}
    try:
        for name in kept:
            setattr(checker, name, getattr(fresh, name))
        yield checker.verify_plan
    finally:
        for name, value in kept.items():
            setattr(checker, name, value)


def caught(mutant: Mutant) -> bool:
    """Whether a specimen that comes past the changed lines shows the change."""
    passing = {i for line in mutant.lines for i in visits().get((mutant.module, line), ())}
    everything = corpus()
    specimens = [everything[i] for i in sorted(passing)] or everything
    if mutant.name.startswith("checker._sizes"):
        specimens = [*specimens, *large()]
    with put_in_place(mutant) as verify:
        for item in specimens:
            signal.setitimer(signal.ITIMER_PROF, _LONGEST_S)
            try:
                if verdict(verify, item):
                    return True
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0.0)
    return False


@pytest.fixture(autouse=True)
def endless_loops_end() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError("the mutant loops")

    before = signal.signal(signal.SIGPROF, stop)
    yield
    signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("module", MODULES)
def test_every_mutant_is_caught(module: str) -> None:
    survivors = {mutant.name for mutant in mutants(module) if not caught(mutant)}
    named = {name for name in EQUIVALENT if name.startswith(f"{module}.")}
    assert survivors == named


def test_no_module_is_left_out() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {"__init__", *MODULES}


def test_there_are_mutants_of_every_check() -> None:
    names = [mutant.name for module in MODULES for mutant in mutants(module)]
    assert sum("is not said" in name for name in names) > 80
    assert len(names) > 250
