"""``tomas run``: a step that runs out of memory goes on with more, and the tables tell what it got."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.unit.runtime.test_local import plan, step
from tomas.schema import CommandRunner, InputSizeThresholds, Port, RequestInput, Resources, Tool

GROW = """
import pathlib, sys, time
heap = []
for _ in range(45):
    heap.append(b"x" * 2**23)
    time.sleep(0.02)
pathlib.Path(sys.argv[2]).write_text("[]")
"""


def test_a_step_out_of_memory_succeeds_with_more(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time.\n", encoding="utf-8")
    devour = Tool(
        name="devour",
        family="test",
        description="Devour a document.",
        inputs=[Port(name="documents", type="text/plain")],
        outputs=[Port(name="records", type="application/jsonl")],
        input_size=InputSizeThresholds(small_max_bytes=1000, medium_max_bytes=2000),
        runner=CommandRunner(argv=[sys.executable, "-c", GROW, "{input}", "{output}"], output_suffix=".jsonl"),
    )
    made = plan(
        [step("s1", "devour", {"documents": ["request:texts"]}, need=Resources(cpu_cores=1, cpu_mem_gb=0.125))],
        {"texts": RequestInput(type="text/plain", uris=[str(text)])},
        tools=[devour],
    )
    file = tmp_path / "plan.json"
    file.write_text(made.model_dump_json(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "from tomas.cli import main; main()", "run", str(file), "--artifacts", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "s1  devour  again with 0.25 GB: Tool devour hit its memory limit of 0.12 GB" in done.stdout
    assert "again with 0.5 GB" in done.stdout
    assert re.search(r"success.* / 0\.5 GB", done.stdout)
    assert (tmp_path / "out" / made.id / "s1" / "3" / "text.jsonl").exists()
