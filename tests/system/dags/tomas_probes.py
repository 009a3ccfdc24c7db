"""DAGs that go wrong on purpose, each in one way, and a plain one that tests set up as they need."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from tomas.airflow import TomasPlanOperator, TomasToolOperator, run_plan
from tomas.config import shared_file
from tomas.schema import CommandRunner, InputSizeThresholds, Plan, PlanRequest, Port, Tool

DOCUMENTS = {"documents": f"{os.environ.get('TOMAS_SAMPLES_DIR') or shared_file('data/samples')}/documents"}
SOON = timedelta(seconds=1)


def shell_tool(name: str, description: str, script: str) -> Tool:
    """A tool whose work is a shell script: ``$1`` is the input, ``$2`` the output."""
    return probe_tool(name, description, ["sh", "-c", script, "probe", "{input}", "{output}"])


def probe_tool(name: str, description: str, argv: list[str], family: str = "probe") -> Tool:
    """A tool from documents to records."""
    return Tool(
        name=name,
        family=family,
        description=description,
        aliases=[name],
        inputs=[Port(name="documents", type="text/plain")],
        outputs=[Port(name="records", type="application/jsonl")],
        input_size=InputSizeThresholds(small_max_bytes=1000, medium_max_bytes=100000),
        runner=CommandRunner(argv=argv, output_suffix=".jsonl"),
    )


# Memory grows by 32 MB at a time. The first try has no end; what the later ones need is a third argument, in terms
# of what the first one got.
GROW = """
import pathlib, sys, time
mark = pathlib.Path(sys.argv[2]).parents[1] / "grown"
first = not mark.exists()
target = float("inf") if first else float(sys.argv[3]) * int(mark.read_text())
heap = []
while len(heap) < target:
    heap.append(b"x" * 2**25)
    if first:
        mark.write_text(str(len(heap)))
    time.sleep(0.04)
pathlib.Path(sys.argv[2]).write_text("[]")
"""


class UnknownToHistory(TomasPlanOperator):
    """Its tools get another name and family in every run, so that no run before sizes them."""

    def _request(self, context: Any, key: str) -> PlanRequest:
        request = super()._request(context, key)
        suffix = hashlib.sha256(key.encode()).hexdigest()[:8]
        tools = [
            tool.model_copy(update={"name": f"{tool.name}_{suffix}", "family": f"probe_{suffix}"})
            for tool in request.tools
        ]
        return request.model_copy(update={"tools": tools, "allowed_tools": [tool.name for tool in tools]})


def growing(name: str, factor: str) -> Tool:
    """A tool that runs out of memory at first, and then needs so many times what it had."""
    argv = [sys.executable, "-c", GROW, "{input}", "{output}", factor]
    return probe_tool(name, f"{name.capitalize()} the documents.", argv)


SHATTER = shell_tool("shatter", "Shatter the documents.", "exit 3")
# The folder above the try's own outlives the try.
STUMBLE = shell_tool(
    "stumble",
    "Stumble over the documents.",
    'mark="$(dirname "$(dirname "$2")")/stumbled"; [ -e "$mark" ] || (touch "$mark"; kill -9 $$); echo [] > "$2"',
)
DAWDLE = shell_tool("dawdle", "Dawdle over the documents.", 'sleep 300 & wait; echo [] > "$2"')
SIMPLE = Param("Extract the keywords of the documents and detect their language", type="string")

with DAG("probe_simple", schedule=None, params={"task": SIMPLE}):
    simple = TomasPlanOperator(task_id="plan", task="{{ params.task }}", inputs=DOCUMENTS)
    run_plan(simple)

with DAG("probe_branches", schedule=None):
    branches = TomasPlanOperator(
        task_id="plan",
        task="Shatter the documents, extract their keywords, detect their language; "
        "join all results into one HTML report.",
        inputs=DOCUMENTS,
        outputs={"report": "text/html"},
        tools=[SHATTER, "keyword_extraction", "language_detection", "report_generation"],
    )
    run_plan(branches, retries=2, retry_delay=SOON)

with DAG("probe_killed", schedule=None):
    killed = TomasPlanOperator(task_id="plan", task="Stumble over the documents", inputs=DOCUMENTS, tools=[STUMBLE])
    run_plan(killed, retries=1, retry_delay=SOON)

with DAG("probe_stopped", schedule=None):
    stopped = TomasPlanOperator(task_id="plan", task="Dawdle over the documents", inputs=DOCUMENTS, tools=[DAWDLE])
    run_plan(stopped)


for dag_id, tool in (("probe_devour", growing("devour", "1.3")), ("probe_gorge", growing("gorge", "inf"))):
    with DAG(dag_id, schedule=None):
        hungry = UnknownToHistory(
            task_id="plan",
            task=f"{tool.name.capitalize()} the documents",
            inputs={"documents": f"{DOCUMENTS['documents']}/battery_bus.txt"},
            tools=[tool],
        )
        run_plan(hungry, retries=6)


class DiesOutOfMemory(TomasToolOperator):
    """Is killed on its first try after its tool ran out of memory, before it can say so to Airflow."""

    def _wish_more(self, ti: Any, *details: Any) -> None:
        if ti.try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._wish_more(ti, *details)


with DAG("probe_devour_killed", schedule=None):
    speechless = UnknownToHistory(
        task_id="plan",
        task="Devour the documents",
        inputs={"documents": f"{DOCUMENTS['documents']}/battery_bus.txt"},
        tools=[growing("devour", "1.3")],
    )
    DiesOutOfMemory.partial(task_id="tool", retries=2, retry_delay=SOON).expand(step=speechless.output)


class InterruptedPlan(TomasPlanOperator):
    """Dies on its first try between the plan's commit and the first XCom."""

    def _publish(self, plan: Plan, ti: Any) -> None:
        if ti.try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._publish(plan, ti)


with DAG("probe_interrupted", schedule=None):
    interrupted = InterruptedPlan(
        task_id="plan", task="Extract the keywords of the documents", inputs=DOCUMENTS, retries=2, retry_delay=SOON
    )
    run_plan(interrupted)


class UnknownToolTask(TomasToolOperator):
    """A tool task that the policy does not know as one, as if no policy were installed."""

    custom_operator_name = "not routed"


with DAG("probe_unrouted", schedule=None):
    unrouted = TomasPlanOperator(task_id="plan", task="Extract the keywords of the documents", inputs=DOCUMENTS)
    UnknownToolTask.partial(task_id="tool", retries=2, retry_delay=SOON).expand(step=unrouted.output)
