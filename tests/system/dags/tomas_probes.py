"""DAGs that go wrong on purpose, each in one way, and a plain one that tests set up as they need."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from tomas.airflow import TomasPlanOperator, TomasToolOperator, run_plan
from tomas.config import shared_file
from tomas.schema import CommandRunner, InputSizeThresholds, Plan, Port, Tool

DOCUMENTS = {"documents": f"{os.environ.get('TOMAS_SAMPLES_DIR') or shared_file('data/samples')}/documents"}
SOON = timedelta(seconds=1)


def shell_tool(name: str, description: str, script: str) -> Tool:
    """A tool whose work is a shell script: ``$1`` is the input, ``$2`` the output."""
    return Tool(
        name=name,
        family="probe",
        description=description,
        aliases=[name],
        inputs=[Port(name="documents", type="text/plain")],
        outputs=[Port(name="records", type="application/jsonl")],
        input_size=InputSizeThresholds(small_max_bytes=1000, medium_max_bytes=100000),
        runner=CommandRunner(argv=["sh", "-c", script, "probe", "{input}", "{output}"], output_suffix=".jsonl"),
    )


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
