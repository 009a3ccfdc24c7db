"""The benchmark of sizing: its protocols hide what was not known yet, and its baselines are the published ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import sizing
from benchmarks.sizing_baselines import MaxSeen, Tovar, WittLR, WittPercentile
from benchmarks.sizing_protocol import Chosen, PerProcess, cost, prequential, shuffled
from benchmarks.sizing_traces import Task, read_traces
from tomas.errors import DataError


def task(
    peak: float, *, submit: float = 0.0, complete: float = 1.0, size: float = 1e9, request: float = 10.0
) -> Task:
    return Task("flow:sort", request, peak, 3.6e6, size, 1.0, submit, complete)


def test_only_what_completed_before_the_submission_is_known() -> None:
    tasks = [task(1.0, complete=10.0), task(2.0, submit=5.0, complete=7.0), task(3.0, submit=10.0, complete=20.0),
             task(4.0, submit=11.0, complete=30.0)]  # fmt: skip
    chosen = list(prequential(tasks, PerProcess(MaxSeen)))
    assert [item.first_gb for item in chosen] == [10.0, 10.0, 2.0, 2.0]
    assert [item.warm for item in chosen] == [False, False, True, True]


def test_a_failed_try_costs_its_allocation_for_the_whole_run_time() -> None:
    assert cost(Chosen(task(3.0), 1.0, True)) == (pytest.approx(1.0 + 2.0 + 4.0 - 3.0), 2)
    assert cost(Chosen(task(3.0, request=3.5), 1.0, True)) == (pytest.approx(1.0 + 2.0 + 0.5), 2)


def test_baselines_are_those_of_their_papers() -> None:
    percentile, line, first = WittPercentile(), WittLR(), Tovar()
    for peak in range(1, 22):
        run = task(float(peak), size=peak * 1e9)
        for method in (percentile, line, first):
            method.update(run)
    assert percentile.predict(task(1.0)) == pytest.approx(20.0)
    guess = line.predict(task(1.0, size=30e9))
    assert guess is not None
    assert guess >= 30.0
    # With equal times, a · 21 + 21 · (runs above a) is the same for all a; the larger is taken.
    assert first.predict(task(1.0)) == 21.0
    rare = Tovar()
    for peak in [1.0] * 19 + [8.0]:
        rare.update(task(peak))
    assert rare.predict(task(1.0)) == 1.0


def test_the_shuffled_protocol_tests_seven_of_ten_and_leaves_small_processes_out() -> None:
    assert len(list(shuffled([task(1.0)] * 40, PerProcess(MaxSeen), 0))) == 28
    assert list(shuffled([task(1.0)] * 33, PerProcess(MaxSeen), 0)) == []


def test_it_runs_on_any_folder_of_the_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = "process,status,cpus,memory,peak_rss,realtime,rchar,submit,complete"
    rows = [
        f"flow:sort,COMPLETED,2,{8_000_000_000},{1_000_000_000 + 10_000_000 * (i % 5)},60000,{10**9},"
        f"{i * 100_000},{i * 100_000 + 60_000}"
        for i in range(40)
    ]
    (tmp_path / "flow.csv").write_text("\n".join([header, *rows, "flow:sort,FAILED,2,8,-,1,-,1,2"]) + "\n")
    assert len(read_traces(tmp_path)["flow"]) == 40
    assert sizing.main(["--traces", str(tmp_path), "--seeds", "1"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    result = line["workflows"]["flow"]
    assert result["tasks"] == 39
    assert 0 <= result["waste_gbh"] < result["baselines"]["request"]["waste_gbh"]
    assert {"best_baseline_gbh", "failed_pct", "latency_wape_pct"} <= set(result)
    assert set(line) == {"planning", "workflows", "shuffled", "update_ms_p99"}
    with pytest.raises(DataError, match="holds no CSV"):
        read_traces(tmp_path / "none")
