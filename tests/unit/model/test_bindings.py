"""No step is wasted where a request declares its results; nothing changes where it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given as drawn
from hypothesis import strategies as st

from tomas.model.bindings import Bindings, result_last, use_all
from tomas.model.example import PlanningInput, PortCard, Source, ToolCard

RESIZE, LABEL, REPORT, TRANSLATE = range(4)
CARDS = (
    ToolCard("resize", "", (PortCard("images", "image/*"),), (PortCard("images", "image/png"),)),
    ToolCard("label", "", (PortCard("images", "image/*"),), (PortCard("labels", "application/jsonl"),)),
    ToolCard("report", "", (PortCard("parts", "*/*", required=False),), (PortCard("report", "text/html"),)),
    ToolCard("translate", "", (PortCard("page", "text/html"),), (PortCard("page", "text/plain"),)),
)
GIVEN = PlanningInput(
    "t", "en", CARDS, np.zeros(len(CARDS), np.float32), (("photos", "image/jpeg", None),), ("text/html",)
)
SOURCES = [Source(-1, 0), Source(0, 0), Source(1, 0), Source(2, 0)]


def _fits(tools: list[int]) -> list[list[list[bool]]]:
    return [[[source.step < s for source in SOURCES] for _ in CARDS[tool].inputs] for s, tool in enumerate(tools)]


def test_the_sole_maker_of_the_declared_result_comes_last() -> None:
    assert result_last(GIVEN, [RESIZE, REPORT, LABEL]) == [0, 2, 1]
    assert result_last(replace(GIVEN, outputs=()), [RESIZE, REPORT, LABEL]) == [0, 1, 2]
    assert result_last(replace(GIVEN, outputs=("text/html", "text/html")), [REPORT, LABEL]) == [0, 1]
    assert result_last(GIVEN, [REPORT, LABEL, REPORT]) == [0, 1, 2], "two make it: which is meant is not known"


def test_what_reads_the_result_is_not_moved_before_it() -> None:
    assert result_last(GIVEN, [REPORT, TRANSLATE, LABEL]) == [0, 1, 2]


def test_what_nothing_reads_goes_to_the_likeliest_port() -> None:
    tools = [RESIZE, LABEL, REPORT]
    bindings: Bindings = [((Source(-1, 0),),), ((Source(-1, 0),),), ((Source(1, 0),),)]
    chances = [[[0.9, 0.0, 0.0, 0.0]], [[0.6, 0.4, 0.0, 0.0]], [[0.0, 0.3, 0.9, 0.0]]]
    found = use_all(bindings, GIVEN, tools, SOURCES, chances, _fits(tools))
    assert found == [((Source(-1, 0),),), ((Source(-1, 0), Source(0, 0)),), ((Source(1, 0),),)]
    undeclared = replace(GIVEN, outputs=())
    assert use_all(bindings, undeclared, tools, SOURCES, chances, _fits(tools)) == bindings


@drawn(st.permutations([RESIZE, LABEL, REPORT]), st.data())
def test_bindings_only_grow_and_nothing_that_can_be_read_is_left(tools: list[int], data: st.DataObject) -> None:
    chance = st.floats(0, 1)
    chances = [[[data.draw(chance) for _ in SOURCES] for _ in CARDS[tool].inputs] for tool in tools]
    bindings: Bindings = [tuple(() for _ in CARDS[tool].inputs) for tool in tools]
    fits = _fits(tools)
    found = use_all(bindings, GIVEN, tools, SOURCES, chances, fits)
    read = {source.step for ports in found for port in ports for source in port}
    for step, tool in enumerate(tools[:-1]):
        assert step in read or tool == REPORT
    for s, ports in enumerate(found):
        for q, port in enumerate(ports):
            assert set(bindings[s][q]) <= set(port)
            assert all(fits[s][q][SOURCES.index(source)] for source in port)
