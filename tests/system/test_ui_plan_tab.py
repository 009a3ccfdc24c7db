"""The Plan tab and the step tab in Airflow's real pages, and who may read the API behind them.

``TOMAS_UPDATE_PICTURES=1`` writes the screenshots to ``docs/pictures``; else they stay with the test's files.
``TOMAS_CHROMIUM`` names the browser where it is not on the path.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg2
import pytest

from tests.system.airflow_checks import plan_of
from tomas.demo.stack import Stack

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

DAG_ID = "tomas_quickstart"
PLANNING_WORKER = "worker-planner"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]
BOX = "document.querySelector('tomas-plan, tomas-step').parentElement"
SHADOW = "document.querySelector('tomas-plan').shadowRoot"
BAD_TASKS = {
    "hostile": 'Classify the images <img src=x onerror="window.owned=1"> {{ 7*7 }} 图像分类 </script>',
    "unknown": "Bake a cake with three eggs and drive it to the moon",
}


@dataclass
class Run:
    """A run of the quickstart DAG."""

    run_id: str
    state: str

    @property
    def page(self) -> str:
        """Its page, without the host."""
        return f"/dags/{DAG_ID}/runs/{quote(self.run_id, safe='')}"

    @property
    def api(self) -> str:
        """Its plans in the API."""
        return f"/tomas/api/plans/{DAG_ID}/{quote(self.run_id, safe='')}"


def wait(stack: Stack, run_id: str) -> Run:
    return Run(run_id, stack.wait_run(DAG_ID, run_id))


@pytest.fixture(scope="module")
def done(stack: Stack) -> Run:
    """A run of the default task that had the workers for itself."""
    return wait(stack, stack.trigger(DAG_ID))


@pytest.fixture(scope="module")
def bad(stack: Stack, done: Run) -> dict[str, str]:
    """Ids of runs that were given a bad task; they go on while the first run is looked at."""
    del done
    return {name: stack.trigger(DAG_ID, {"task": task}) for name, task in BAD_TASKS.items()}


@pytest.fixture
def drafted(stack: Stack, bad: dict[str, str]) -> Iterator[Run]:
    """A run that the shipped model planned, with what it says of its plan."""
    pytest.importorskip("torch", reason="the neural planner needs the extra `model`")
    for run_id in bad.values():  # their plan tasks share the worker that starts anew
        stack.wait_run(DAG_ID, run_id)
    stack.restart(PLANNING_WORKER, TOMAS__PLANNER__KIND="neural")
    try:
        run = wait(stack, stack.trigger(DAG_ID))
        deadline = time.monotonic() + 60
        while not plan_of(stack, DAG_ID, run.run_id).narrative and time.monotonic() < deadline:
            time.sleep(0.5)  # it is written after Airflow has heard of the success
        yield run
    finally:
        stack.restart(PLANNING_WORKER)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, the one that the system has."""
    path = os.environ.get("TOMAS_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium, or set TOMAS_CHROMIUM")
    with playwright.sync_playwright() as tool:
        running = tool.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def session(stack: Stack, browser: Any) -> Iterator[Any]:
    """A browser context that logged in through Airflow's own page."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(f"{stack.url}/")
    name, password = stack.login
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "login" not in url)
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(session: Any) -> Iterator[Any]:
    """A page on which no script may fail."""
    opened = session.new_page()
    failures: list[str] = []
    opened.on("pageerror", lambda error: failures.append(str(error)))
    yield opened
    opened.close()
    assert failures == []


def picture(page: Any, name: str, folder: Path) -> None:
    """A screenshot of the whole tab: the window grows until the tab no longer scrolls."""
    height = page.evaluate(
        f"() => {{ const box = {BOX}; return innerHeight + Math.max(0, box.scrollHeight - box.clientHeight); }}"
    )
    page.set_viewport_size({"width": 1440, "height": min(3200, height)})
    page.wait_for_timeout(600)
    update = os.environ.get("TOMAS_UPDATE_PICTURES") == "1"
    target = Path(__file__).parents[2] / "docs" / "pictures" if update else folder
    target.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(target / f"{name}.png"))
    page.set_viewport_size({"width": 1440, "height": 900})


def open_plan(page: Any, stack: Stack, run: Run) -> Any:
    page.goto(f"{stack.url}{run.page}")
    page.get_by_role("tab", name="TOMAS Plan").or_(page.get_by_role("link", name="TOMAS Plan")).first.click()
    page.wait_for_selector("tomas-plan[data-state=ready]")
    return page.locator("tomas-plan")


def test_the_plan_tab_shows_the_whole_plan(
    stack: Stack, done: Run, bad: dict[str, str], page: Any, tmp_path: Path
) -> None:
    assert done.state == "success"
    plan = stack.store.latest_plan(DAG_ID, done.run_id)
    assert plan is not None
    tab = open_plan(page, stack, done)
    assert tab.locator("h2.task").inner_text() == plan.request.task
    tiles = tab.locator("dl.tiles").inner_text()
    assert f"{len(plan.steps)} of {len(plan.steps)}" in tiles
    assert plan.planner.kind in tiles
    assert tab.locator(".graph .node").count() == len(plan.steps)
    assert tab.locator(".graph .node.critical").count() >= 1
    assert tab.locator(".gantt .planned").count() == len(plan.steps)
    assert tab.locator(".gantt .ran").count() >= len(plan.steps)
    assert tab.locator(".strips svg").count() >= 2 * len({step.bin for step in plan.steps})
    rows = tab.locator("tr.step")
    assert rows.count() == len(plan.steps)
    for step in plan.steps:
        row = tab.locator(f'tr.step[data-step="{step.id}"]').inner_text()
        assert step.tool in row
        assert step.pool in row
        assert re.search(r"\d GB", row)
        assert "core-s" in row
    picture(page, "plan_tab", tmp_path)


def test_one_selection_links_graph_timeline_and_table(stack: Stack, done: Run, page: Any) -> None:
    tab = open_plan(page, stack, done)
    node = tab.locator(".graph .node").nth(2)
    step_id = node.get_attribute("data-step")
    node.focus()
    page.keyboard.press("Enter")
    for part in (".graph .node", ".gantt .row", "tr.step"):
        chosen = tab.locator(f"{part}.selected")
        assert chosen.count() == 1
        assert chosen.get_attribute("data-step") == step_id
    assert "Why this size" in tab.locator("tr.detail").inner_text()
    page.keyboard.press(" ")
    assert tab.locator(".selected").count() == 0


def test_a_log_link_leads_to_the_mapped_instance_and_its_step_tab(
    stack: Stack, done: Run, page: Any, tmp_path: Path
) -> None:
    tab = open_plan(page, stack, done)
    row = tab.locator("tr.step").nth(1)
    tool, step_id = row.locator("td.name button").inner_text(), row.get_attribute("data-step")
    row.get_by_role("link").click()
    page.wait_for_url(re.compile(r"/tasks/.+/mapped/\d+"))
    page.get_by_role("tab", name="TOMAS Step").or_(page.get_by_role("link", name="TOMAS Step")).first.click()
    page.wait_for_selector("tomas-step[data-state=ready]")
    step = page.locator("tomas-step")
    assert step.locator("h2").inner_text().startswith(tool)
    text = step.locator(".page").inner_text()
    for words in ("Run time", "Peak memory", "Why this size", "Inputs and arguments"):
        assert words in text
    picture(page, "step_tab", tmp_path)
    step.get_by_role("link", name="Show in the plan").click()
    page.wait_for_selector("tomas-plan[data-state=ready]")
    assert page.locator("tomas-plan tr.step.selected").get_attribute("data-step") == step_id


def test_a_task_that_runs_no_step_says_so(stack: Stack, done: Run, page: Any) -> None:
    page.goto(f"{stack.url}{done.page}/tasks/publish/plugin/tomas-step")
    page.wait_for_selector("tomas-step[data-state=not-a-step]")
    page.goto(f"{stack.url}{done.page}/tasks/plan/plugin/tomas-step")
    page.wait_for_selector("tomas-step[data-state=plan-task]")
    page.locator("tomas-step").get_by_role("link").click()
    page.wait_for_selector("tomas-plan[data-state=ready]")


def test_dark_mode_follows_airflow(stack: Stack, done: Run, page: Any, tmp_path: Path) -> None:
    tab = open_plan(page, stack, done)
    colour = f"() => getComputedStyle({SHADOW}.querySelector('h2')).color"
    light = page.evaluate(colour)
    page.evaluate("() => document.documentElement.classList.replace('light', 'dark')")
    page.wait_for_timeout(300)
    assert page.evaluate(colour) != light
    assert "dark" in (tab.get_attribute("class") or "")
    picture(page, "plan_tab_dark", tmp_path)


def test_a_narrow_window_scrolls_only_inside_its_boxes(stack: Stack, done: Run, page: Any) -> None:
    open_plan(page, stack, done)
    page.set_viewport_size({"width": 480, "height": 900})
    page.wait_for_timeout(500)
    assert page.evaluate(f"() => {{ const box = {BOX}; return box.scrollWidth - box.clientWidth; }}") <= 1


def test_what_users_write_is_text(stack: Stack, bad: dict[str, str], page: Any) -> None:
    run = wait(stack, bad["hostile"])
    page.goto(f"{stack.url}{run.page}/plugin/tomas-plan")
    page.wait_for_selector("tomas-plan[data-state=ready]")
    assert page.evaluate("() => window.owned === undefined")
    assert page.evaluate(f"() => {SHADOW}.querySelector('img, script') === null")
    assert page.locator("tomas-plan h2.task").inner_text() == BAD_TASKS["hostile"]


def test_a_plan_task_that_fails_shows_its_error(stack: Stack, bad: dict[str, str], page: Any) -> None:
    run = wait(stack, bad["unknown"])
    assert run.state == "failed"
    page.goto(f"{stack.url}{run.page}/plugin/tomas-plan")
    page.wait_for_selector("tomas-plan[data-state=plan-failed]")
    shown = page.locator("tomas-plan .page").inner_text()
    answer = stack.api.get(run.api).json()
    assert answer["plans"] == []
    (error,) = [item["error"] for item in answer["plan_tasks"]]
    assert error["message"] in shown
    assert error["remedy"] in shown


def test_a_plan_of_the_model_names_its_version_its_proposals_and_its_own_words(
    stack: Stack, drafted: Run, page: Any, tmp_path: Path
) -> None:
    plan = plan_of(stack, DAG_ID, drafted.run_id)
    assert (drafted.state, plan.planner.kind) == ("success", "neural")
    tab = open_plan(page, stack, drafted)
    assert plan.planner.version in tab.locator("dl.tiles").inner_text()
    assert plan.narrative
    assert tab.locator("p.prose", has_text=plan.narrative).count() == 1
    tab.locator("tr.step").first.locator("td.name button").click()
    detail = tab.locator("tr.detail").inner_text()
    proposed = detail.split("Proposed by the model", 1)[1].split("Choice of the tool", 1)[0]
    assert re.search(r"\d GB", proposed), detail
    picture(page, "plan_tab_neural", tmp_path)


def test_a_run_without_a_plan_task_says_so(stack: Stack, page: Any) -> None:
    run_id = stack.trigger("system_probe")
    stack.wait_run("system_probe", run_id)
    place = quote(run_id, safe="")
    answer = stack.api.get(f"/tomas/api/plans/system_probe/{place}")
    assert (answer.status_code, answer.json()["error"]) == (404, "no_plan")
    page.goto(f"{stack.url}/dags/system_probe/runs/{place}/plugin/tomas-plan")
    page.wait_for_selector("tomas-plan[data-state=no-plan]")


def test_every_mounted_route_asks_for_a_login(stack: Stack, done: Run) -> None:
    from tomas.airflow.api import app

    values = {"dag_id": DAG_ID, "run_id": done.run_id, "task_id": "plan_run.tool", "name": "plan_app.js"}
    paths = [route.path.format(**values) for route in app.routes]
    assert len(paths) >= 3
    for path in paths:
        for headers, status in (({}, 401), ({"Authorization": "Bearer nonsense"}, 403)):
            answer = httpx.get(f"{stack.url}/tomas{path}", headers=headers, trust_env=False)
            assert answer.status_code == status, path
            assert answer.json()["message"], path
    for path in ("/openapi.json", "/docs", "/redoc"):
        assert httpx.get(f"{stack.url}/tomas{path}", trust_env=False).status_code == 404


def test_the_right_on_the_dag_decides(stack: Stack, done: Run) -> None:
    assert stack.viewer.get(done.api).status_code == 200
    code = (
        "from airflow.api_fastapi.app import create_auth_manager as m;"
        "from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser as U;"
        "print(m().generate_jwt(U(username='stranger', role=None)))"
    )
    minted = subprocess.run(
        [sys.executable, "-c", code],
        env=stack.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    stranger = {"Authorization": f"Bearer {minted.stdout.split()[-1]}"}
    steps = done.api.replace("/plans/", "/steps/") + "/plan_run.tool?map_index=0"
    for path in (done.api, steps):
        answer = httpx.get(f"{stack.url}{path}", headers=stranger, trust_env=False)
        assert answer.status_code == 403
        assert answer.json()["remedy"]
    module = httpx.get(f"{stack.url}/tomas/static/plan_app.js", headers=stranger, trust_env=False)
    assert module.status_code == 200


def test_the_api_names_what_is_not_there(stack: Stack, done: Run) -> None:
    answer = stack.api.get(f"/tomas/api/plans/{DAG_ID}/no-such-run")
    assert (answer.status_code, answer.json()["error"]) == (404, "no_run")
    steps = done.api.replace("/plans/", "/steps/")
    for tail, status, error in (
        ("/plan_run.tool?map_index=9999", 404, "not_a_step"),
        ("/plan", 404, "plan_task"),
        ("/plan_run.tool?map_index=x", 422, "bad_request"),
    ):
        answer = stack.api.get(steps + tail)
        assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert stack.api.get("/tomas/static/..%2fapi.py").status_code == 404


def test_no_secret_of_the_stack_leaves(stack: Stack, done: Run) -> None:
    text = stack.api.get(done.api).text
    for secret in (stack.secrets.tomas_db, stack.secrets.airflow_db, stack.secrets.admin_password):
        assert secret not in text


def test_a_store_that_is_down_is_named_with_its_remedy(stack: Stack, done: Run, page: Any) -> None:
    """The role of TOMAS's base may not log in for a moment; Airflow's own base goes on."""
    admin = psycopg2.connect(stack._postgres.dsn("postgres"))
    admin.autocommit = True
    try:
        with admin.cursor() as cur:
            cur.execute("ALTER ROLE tomas NOLOGIN")
            cur.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tomas'")
        answer = stack.api.get(done.api)
        assert answer.status_code == 503
        assert answer.json()["remedy"]
        assert stack.secrets.tomas_db not in answer.text
        page.goto(f"{stack.url}{done.page}/plugin/tomas-plan")
        page.wait_for_selector("tomas-plan[data-state=store-down]")
        shown = page.locator("tomas-plan .page").inner_text()
        assert " ".join(answer.json()["message"].split()) in " ".join(shown.split())
    finally:
        with admin.cursor() as cur:
            cur.execute("ALTER ROLE tomas LOGIN")
        admin.close()
    page.locator("tomas-plan").get_by_role("button", name="Try again").click()
    deadline = time.monotonic() + 30
    while page.locator("tomas-plan").get_attribute("data-state") != "ready":
        assert time.monotonic() < deadline
        page.wait_for_timeout(300)
