"""Cores, environment, command words, cgroups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomas.schema import Resources
from tomas.tools import limits
from tomas.tools.limits import Cgroup, child_environment, claim_cores, whole_cores
from tomas.tools.naming import output_names
from tomas.tools.template import fill_words


@pytest.mark.parametrize(("cores", "whole"), [(0, 1), (0.5, 1), (1, 1), (1.0000000001, 1), (1.2, 2), (4, 4)])
def test_threads_know_whole_cores_only(cores: float, whole: int) -> None:
    assert whole_cores(Resources(cpu_cores=cores)) == whole


def test_two_claims_share_no_core_while_there_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.tempfile, "gettempdir", lambda: str(tmp_path))  # no claims of other processes
    usable = os.sched_getaffinity(0)
    with claim_cores(1) as first:
        assert first is not None
        with claim_cores(len(usable) - 1 or 1) as second:
            assert second is not None
            if len(usable) > 1:
                assert set(first) | set(second) == usable
                assert not set(first) & set(second)
            with claim_cores(len(usable) + 3) as shared:  # more than there is: all of them, shared
                assert shared == sorted(usable)
    with claim_cores(1) as again:
        assert again == first


def test_gpu_share_is_passed_on_or_hidden(tmp_path: Path) -> None:
    none = child_environment({"CUDA_VISIBLE_DEVICES": "0"}, Resources(cpu_cores=2), tmp_path)
    assert none["CUDA_VISIBLE_DEVICES"] == ""
    some = child_environment({"CUDA_VISIBLE_DEVICES": "1"}, Resources(gpu_sm=33.3, gpu_mem_gb=2), tmp_path)
    assert (some["CUDA_VISIBLE_DEVICES"], some["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"]) == ("1", "34")
    assert none["OMP_NUM_THREADS"] == "2"
    assert none["TMPDIR"] == str(tmp_path)


def test_a_cgroup_is_made_where_the_memory_controller_is_delegated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "service"
    own.mkdir()
    monkeypatch.setattr(limits, "_own_cgroup", lambda: own)
    need = Resources(cpu_cores=1.5, cpu_mem_gb=0.5)
    (own / "cgroup.subtree_control").write_text("cpu", encoding="ascii")
    (tmp_path / "cgroup.subtree_control").write_text("pids", encoding="ascii")
    assert Cgroup.create(need) is None
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory", encoding="ascii")
    group = Cgroup.create(need)
    assert group is not None
    assert group.path.parent == tmp_path  # beside the own group, which delegates nothing
    assert (group.path / "memory.max").read_text(encoding="ascii") == str(2**29)
    assert (group.path / "cpu.max").read_text(encoding="ascii") == "150000 100000"
    (group.path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n", encoding="ascii")
    (group.path / "memory.peak").write_text("536870912\n", encoding="ascii")
    assert (group.oom_kills(), group.peak_bytes()) == (2, 2**29)


@given(
    text=st.text(alphabet=st.characters(exclude_characters="\0")),
    path=st.text(min_size=1, alphabet=st.characters(exclude_characters="\0")),
)
def test_values_never_add_words_nor_are_read_as_templates(text: str, path: str) -> None:
    argv = ["-i", "{input}", "x={arguments.text}", "{output}"]
    words = fill_words(argv, arguments={"text": text}, cores=2, input_path=path, output_path="/o")
    assert words == ["-i", path, "x=" + text, "/o"]


@given(st.lists(st.sampled_from(["a", "A", "b", "a-2", "a-3"]), max_size=12))
def test_output_names_are_distinct_even_where_case_does_not_count(stems: list[str]) -> None:
    names = output_names([Path("/x") / f"{stem}.txt" for stem in stems], ".out")
    assert len({name.casefold() for name in names}) == len(stems)
