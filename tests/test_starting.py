"""Runs started as docs/starting.md says: with Temporal's command line, and with Python."""

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Commands, commands_in
from repositories import files_of, make_repository

ROOT = Path(__file__).parent.parent
TEMPORAL = Path(sysconfig.get_path("scripts"), "temporal")


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    folder = tmp_path_factory.mktemp("starting")
    with commands_in(make_repository(folder / "repository"), folder / "state") as commands:
        yield commands


@pytest.fixture(scope="module")
def address(commands: Commands) -> str:
    found: str = commands.json("up")["address"]
    return found


def temporal(address: str, *arguments: str) -> str:
    done = subprocess.run(
        [TEMPORAL, *arguments, "--address", address],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_temporals_own_command_line_starts_and_cancels_runs(
    commands: Commands, address: str, tmp_path: Path
) -> None:
    example = (ROOT / "examples" / "request.json").read_text()
    request = tmp_path / "request.json"
    request.write_text(example.replace("/path/to/your/repository", str(commands.repository)))

    start = ("--type", "RunPlan", "--task-queue", "branchwork", "--input-file", str(request))
    temporal(address, "workflow", "start", *start, "--workflow-id", "hello-1")
    result = temporal(address, "workflow", "result", "--workflow-id", "hello-1", "-o", "json")

    report = commands.json("status", "hello-1")
    assert json.loads(result)["result"]["outcome"] == "succeeded"
    assert report["branch"] == "branchwork/hello-1"
    assert "HELLO FROM HELLO-1" in files_of(commands.repository, report["branch"])["shout.txt"]


def test_a_run_started_by_anybody_can_be_asked_and_cancelled_through_temporal(
    commands: Commands, address: str
) -> None:
    plan = commands.plan(
        "plan: sleep\nsteps:\n  - {id: a, run: sleep 300}\n  - {id: b, run: sleep 300}\n"
    )
    commands("run", plan, "--detach", "--id", "sleep-1")
    commands.until_step("sleep-1", "a", "running")
    of_run = ("--workflow-id", "sleep-1")

    asked = temporal(address, "workflow", "query", *of_run, "--type", "report", "-o", "json")
    step = ("--name", "cancel_step", "--input", '{"step": "a"}')
    temporal(address, "workflow", "update", "execute", *of_run, *step)
    temporal(address, "workflow", "cancel", *of_run)
    commands("watch", "sleep-1")

    assert '"running"' in asked
    report = commands.json("status", "sleep-1")
    assert report["outcome"] == "cancelled"
    assert report["steps"][0]["reason"] == "Cancelled: cancelled by request"


def test_ten_lines_of_python_start_a_run(commands: Commands, address: str) -> None:
    script = ROOT / "examples" / "start_run.py"

    done = subprocess.run(
        [sys.executable, script, str(commands.repository), address],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    outcome, branch = done.stdout.split()
    assert outcome == "succeeded"
    assert files_of(commands.repository, branch)["shout.txt"] == "HELLO"


def test_the_docs_show_the_python_that_is_run_here() -> None:
    script = (ROOT / "examples" / "start_run.py").read_text()
    shown = (ROOT / "docs" / "starting.md").read_text().partition("```python\n")[2]

    assert shown.partition("```")[0].strip() in script
