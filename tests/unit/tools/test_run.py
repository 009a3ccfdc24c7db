"""Runs in measured, limited child processes: limits that bite, measures that hold, contracts that are kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tomas.errors import ToolContractError, ToolError, ToolOutOfMemory, ToolTimeout, ToolUnavailable
from tomas.schema import Outcome, Resources, StepUsage, Tool
from tomas.tools.run import ToolRun

Run = Callable[..., ToolRun]
Make = Callable[..., Tool]
FREE = {"type": "object", "properties": {}}


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_peak_memory_is_measured_within_ten_percent(helper: Make, run: Run) -> None:
    base = run(helper("allocate"), arguments={"megabytes": 1}).usage.peak_mem_gb
    usage = run(helper("allocate"), arguments={"megabytes": 300}).usage
    assert usage.peak_mem_gb - base == pytest.approx(299 / 1024, rel=0.1)
    assert usage.outcome is Outcome.SUCCESS


def test_a_peak_between_two_samples_is_not_lost(helper: Make, run: Run) -> None:
    usage = run(helper("allocate"), arguments={"megabytes": 200, "hold_s": 0}, meter_interval_ms=5000).usage
    assert usage.peak_mem_gb > 200 / 1024


def test_cpu_seconds_of_a_grandchild_that_ended_count(helper: Make, run: Run) -> None:
    usage = run(helper("burn"), arguments={"seconds": 0.5}).usage
    assert 0.95 <= usage.cpu_seconds < 2.0
    assert usage.peak_cpu_cores <= 1.3


@pytest.mark.parametrize("mode", ["auto", "watchdog"])
def test_growth_beyond_the_limit_is_stopped_near_it(helper: Make, run: Run, mode: str) -> None:
    allocation = Resources(cpu_cores=1, cpu_mem_gb=0.25)
    arguments = {"megabytes": 2000, "chunk": 4, "pause_s": 0.004}
    with pytest.raises(ToolOutOfMemory, match=r"limit of 0\.25 GB") as caught:
        run(helper("allocate"), allocation=allocation, arguments=arguments, memory_limit=mode)
    usage: StepUsage = caught.value.usage
    assert usage.outcome is Outcome.OUT_OF_MEMORY
    assert 0.24 <= usage.peak_mem_gb <= 0.34
    assert usage.evidence
    assert usage.memory_limit in (("watchdog",) if mode == "watchdog" else ("cgroup", "rlimit+watchdog"))


def test_one_huge_allocation_hits_the_hard_limit(helper: Make, run: Run) -> None:
    allocation = Resources(cpu_cores=1, cpu_mem_gb=0.25)
    arguments = {"megabytes": 4000, "chunk": 4000}
    with pytest.raises(ToolOutOfMemory) as caught:
        run(helper("allocate"), allocation=allocation, arguments=arguments, memory_limit="rlimit")
    assert "MemoryError" in caught.value.usage.evidence
    assert caught.value.usage.memory_limit == "rlimit"


def test_without_a_limit_nothing_is_stopped(helper: Make, run: Run) -> None:
    allocation = Resources(cpu_cores=1, cpu_mem_gb=0.05)
    usage = run(helper("allocate"), allocation=allocation, arguments={"megabytes": 150}, memory_limit="none").usage
    assert usage.memory_limit == "none"
    assert usage.peak_mem_gb > 0.14


def family(note: Path) -> list[int]:
    assert wait_for(note.exists)
    return [int(word) for word in note.read_text(encoding="utf-8").split()]


def test_timeout_kills_grandchildren_too(helper: Make, run: Run, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    with pytest.raises(ToolTimeout, match=r"longer than 1\.5 s") as caught:
        run(helper("sleep_with_family"), arguments={"note": str(note)}, timeout_s=1.5)
    assert caught.value.usage.outcome is Outcome.TIMEOUT
    assert wait_for(lambda: all(gone(pid) for pid in family(note)))


def test_cancel_kills_the_tree(helper: Make, run: Run, tmp_path: Path) -> None:
    note, cancel = tmp_path / "pids", threading.Event()
    timer = threading.Thread(target=lambda: (family(note), cancel.set()))
    timer.start()
    with pytest.raises(ToolError, match="cancelled") as caught:
        run(helper("sleep_with_family"), arguments={"note": str(note)}, cancel=cancel)
    timer.join()
    assert caught.value.usage.outcome is Outcome.KILLED
    assert wait_for(lambda: all(gone(pid) for pid in family(note)))


def test_the_tree_dies_with_its_supervisor(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    code = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from pathlib import Path
from tomas.schema import Resources, Tool
from tomas.tools.run import run_tool
tool = Tool.model_validate(dict(
    name="t", family="t", description="t", inputs=[dict(name="files", type="*/*", required=False)],
    outputs=[dict(name="result", type="application/jsonl")],
    input_size=dict(small_max_bytes=1, medium_max_bytes=2),
    runner=dict(kind="python", callable="helper_tools:sleep_with_family")))
out = Path({str(tmp_path / "out")!r})
run_tool(tool, {{}}, dict(note={str(note)!r}), out, Resources(cpu_cores=1, cpu_mem_gb=1), timeout_s=100)
"""
    supervisor = subprocess.Popen([sys.executable, "-c", code])
    child, grandchild, stranger = family(note)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    try:
        assert wait_for(lambda: gone(child) and gone(grandchild))
    finally:
        os.kill(stranger, signal.SIGKILL)  # left the group on purpose; only a living supervisor can find it


def test_a_failing_tool_is_quoted(helper: Make, run: Run) -> None:
    with pytest.raises(ToolError, match=r"ValueError: scan\.png is not a readable image") as caught:
        run(helper("fail"))
    assert caught.value.usage.outcome is Outcome.FAILED
    assert caught.value.usage.exit_code == 1
    assert "working on it" in caught.value.log


def test_a_killed_tool_says_so(helper: Make, run: Run) -> None:
    with pytest.raises(ToolError, match="killed by SIGKILL") as caught:
        run(helper("kill_self"))
    assert caught.value.usage.outcome is Outcome.KILLED
    assert not isinstance(caught.value, ToolOutOfMemory)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"outputs": [{"name": "other", "type": "text/plain", "uri": "a.txt"}], "write": ["a.txt"]}, "not declare"),
        (
            {"outputs": [{"name": "result", "type": "text/plain", "uri": "a.txt"}], "write": ["a.txt"]},
            "does not fit",
        ),
        ({"outputs": [{"name": "result", "type": "application/jsonl", "uri": "a.txt"}]}, "does not exist"),
        ({"outputs": [{"name": "result", "type": "application/jsonl", "uri": "/etc/hosts"}]}, "outside"),
        (
            {"outputs": [{"name": "result", "type": "application/jsonl", "uri": "../../x"}]},
            "does not exist|outside",
        ),
        (
            {"outputs": [{"name": "result", "type": "application/jsonl", "uri": "link.txt"}], "link": "/etc/hosts"},
            "outside",
        ),
        ({"outputs": []}, "returned nothing for its output result"),
    ],
)
def test_outputs_that_break_the_contract_are_refused(
    helper: Make, run: Run, arguments: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ToolContractError, match=expected) as caught:
        run(helper("say"), arguments=arguments)
    assert caught.value.usage.outcome is Outcome.FAILED


def test_inputs_and_arguments_are_checked_before_anything_starts(helper: Make, run: Run, tmp_path: Path) -> None:
    with pytest.raises(ToolContractError, match="no input port 'pictures'"):
        run(helper("copy"), {"pictures": []})
    with pytest.raises(ToolContractError, match="is not a file"):
        run(helper("copy"), {"files": [tmp_path / "none"]})
    needy = helper("copy", inputs=[{"name": "files", "type": "*/*"}])
    with pytest.raises(ToolContractError, match="input files: no file was given"):
        run(needy)
    strict = helper(
        "copy",
        arguments={"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False},
    )
    with pytest.raises(ToolContractError, match="argument n: 'x' is not of type 'integer'"):
        run(strict, arguments={"n": "x"})
    with pytest.raises(ToolContractError, match="'m' was unexpected"):
        run(strict, arguments={"m": 1})
    assert not (tmp_path / "out").exists()


def test_a_used_output_folder_is_refused(helper: Make, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(ToolContractError, match="is not empty"):
        run(helper("copy"))


def test_a_tool_whose_model_is_absent_is_refused_with_a_remedy(
    registry: Any, run: Run, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOMAS_CAPTIONING_MODEL", raising=False)
    with pytest.raises(ToolUnavailable, match=r"Remedy: .*set TOMAS_CAPTIONING_MODEL"):
        run(registry.get("image_captioning"), {"images": [samples / "images" / "coffee.jpg"]})


def test_the_child_sees_no_secrets_and_only_its_cores(
    helper: Make, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = {
        "AIRFLOW_CONN_TOMAS_DEFAULT": "postgresql://u:p@h/d",
        "AIRFLOW__CORE__FERNET_KEY": "x",
        "TOMAS__STORE__DSN": "x",
        "PGPASSWORD": "x",
        "MY_SECRET": "x",
        "SENTRY_DSN": "x",
        "AWS_ACCESS_KEY_ID": "x",
    }
    for name, value in (secrets | {"TOMAS_CAPTIONING_MODEL": "/models/c"}).items():
        monkeypatch.setenv(name, value)
    result = run(helper("environment"), allocation=Resources(cpu_cores=0.5, cpu_mem_gb=1))
    facts = json.loads(Path(result.outputs[0].uri).read_text(encoding="utf-8"))
    assert not secrets.keys() & facts["environ"].keys()
    assert facts["environ"]["TOMAS_CAPTIONING_MODEL"] == "/models/c"
    assert facts["environ"]["OMP_NUM_THREADS"] == facts["environ"]["OPENCV_FOR_THREADS_NUM"] == "1"
    assert facts["environ"]["CUDA_VISIBLE_DEVICES"] == ""
    assert len(facts["cores"]) == 1
    assert set(facts["cores"]) <= os.sched_getaffinity(0)
    assert not Path(facts["cwd"]).exists()  # temporary files go with the run


def test_usage_is_reported_while_it_runs(helper: Make, run: Run) -> None:
    seen: list[StepUsage] = []
    run(helper("allocate"), arguments={"megabytes": 50, "hold_s": 0.3}, on_usage=seen.append)
    assert seen
    assert {usage.outcome for usage in seen} == {Outcome.RUNNING}
    assert [usage.wall_ms for usage in seen] == sorted(usage.wall_ms for usage in seen)


def command(*argv: str) -> dict[str, Any]:
    return {
        "runner": {"kind": "command", "argv": list(argv), "output_suffix": ".out"},
        "inputs": [{"name": "files", "type": "*/*"}],
        "outputs": [{"name": "result", "type": "text/plain"}],
        "arguments": {"type": "object", "properties": {"text": {"type": "string", "default": ""}}},
    }


def test_command_words_are_literal_and_names_may_start_with_a_dash(helper: Make, run: Run, tmp_path: Path) -> None:
    source = tmp_path / "-rf {output} $HOME.txt"
    source.write_text("hello\n", encoding="utf-8")
    script = "import sys; open(sys.argv[2], 'w').write(open(sys.argv[1]).read() + sys.argv[3])"
    tool = helper("x", **command("python3", "-c", script, "{input}", "{output}", "<{arguments.text}>"))
    text = "$(touch pwned); {cores} {{input}} `id` ' \""
    result = run(tool, {"files": [source]}, arguments={"text": text})
    path = Path(result.outputs[0].uri)
    assert path.read_text(encoding="utf-8") == f"hello\n<{text}>"
    assert path.name == "-rf {output} $HOME.out"
    assert path.parent == tmp_path / "out"


def test_a_failing_command_is_quoted_and_files_of_one_name_do_not_collide(
    helper: Make, run: Run, tmp_path: Path
) -> None:
    tool = helper("x", **command("cp", "{input}", "{output}"))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.txt").write_text(folder, encoding="utf-8")
    result = run(tool, {"files": [tmp_path / "a" / "same.txt", tmp_path / "b" / "same.txt"]})
    assert [Path(item.uri).name for item in result.outputs] == ["same.out", "same-2.out"]
    assert [Path(item.uri).read_text(encoding="utf-8") for item in result.outputs] == ["a", "b"]


def test_a_command_that_fails_names_its_exit_code(helper: Make, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    tool = helper("x", **command("python3", "-c", "import sys; sys.exit('no luck')", "{input}", "{output}"))
    with pytest.raises(ToolError, match=r"exited with 1 on a\.out") as caught:
        run(tool, {"files": [tmp_path / "a.txt"]})
    assert "no luck" in caught.value.log
