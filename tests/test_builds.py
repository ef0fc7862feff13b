"""Workers of two builds: a run stays on the one it began on."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from branchwork.client import Branchwork
from branchwork.contract import RunRequest
from branchwork.names import new_run_id
from branchwork.plan import Plan
from branchwork.settings import Build, Settings, SettingsError
from conftest import SCRIPTS
from repositories import make_repository
from worker_processes import WorkerProcess, worker_process


def temporal(client: Client, *arguments: str) -> str:
    """What Temporal's command line says; "" if it fails."""
    address = ("--address", client.service_client.config.target_host)
    command = [SCRIPTS / "temporal", *arguments, *address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout if done.returncode == 0 else ""


async def make_current(client: Client, build: str) -> None:
    """As docs/upgrading.md says; refused until a worker of that build is there."""
    command = ("worker", "deployment", "set-current-version", "--yes")
    which = ("--deployment-name", "branchwork", "--build-id", build)
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(temporal, client, *command, *which):
            await asyncio.sleep(0.2)


async def build_of(client: Client, run: str) -> str:
    described = await asyncio.to_thread(
        temporal, client, "workflow", "describe", "--workflow-id", run, "-o", "json"
    )
    about: dict[str, Any] = json.loads(described)["workflowExecutionInfo"]["versioningInfo"]
    found: str = about["deploymentVersion"]["buildId"]
    return found


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Client]:
    """A server of its own: a current build holds for the whole queue of runs."""
    async with await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(SCRIPTS / "temporal"),
        dev_server_database_filename=str(tmp_path / "server.db"),
    ) as environment:
        yield environment.client


async def test_a_run_under_way_stays_on_its_build_and_a_new_one_takes_the_current(
    own: Client, tmp_path: Path
) -> None:
    repository = make_repository(tmp_path / "repository")
    go = tmp_path / "go"
    wait = f"while ! test -e {go}; do sleep 0.1; done"
    runs = Branchwork(own)

    async def start(command: str) -> str:
        steps = [{"id": "a", "run": command}, {"id": "b", "run": "true", "needs": ["a"]}]
        plan = Plan.model_validate({"plan": "build", "steps": steps})
        request = RunRequest(plan=plan, repository=str(repository))
        return await runs.start(request, new_run_id("build"))

    with worker_of(own, tmp_path, "one"), worker_of(own, tmp_path, "two"):
        await make_current(own, "one")
        old = await start(wait)
        await until_running(runs, old)
        await make_current(own, "two")
        new = await start("true")
        newest = await runs.wait(new)
        go.touch()
        oldest = await runs.wait(old)
        builds = [await build_of(own, run) for run in (old, new)]

    assert (oldest.outcome, newest.outcome) == ("succeeded", "succeeded")
    assert builds == ["one", "two"]


def worker_of(client: Client, folder: Path, build: str) -> AbstractContextManager[WorkerProcess]:
    environ = {"BRANCHWORK_DEPLOYMENT": "branchwork", "BRANCHWORK_BUILD_ID": build}
    return worker_process(client, folder / build, f"host-{build}", environ=environ)


async def until_running(runs: Branchwork, run: str) -> None:
    async with asyncio.timeout(60):
        while (await runs.report(run)).steps[0].status != "running":
            await asyncio.sleep(0.1)


def test_a_build_is_named_whole_or_not_at_all() -> None:
    both = {"BRANCHWORK_DEPLOYMENT": "branchwork", "BRANCHWORK_BUILD_ID": "1-2"}

    assert Settings.from_environment(both).build == Build("branchwork", "1-2")
    assert Settings.from_environment({}).build is None
    for name in both:
        with pytest.raises(SettingsError, match="go together"):
            Settings.from_environment({name: "x"})
        with pytest.raises(SettingsError, match=f"{name} is 'a.b'"):
            Settings.from_environment({**both, name: "a.b"})


def test_a_host_with_an_endless_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="201 characters"):
        Settings.from_environment({"BRANCHWORK_HOST": "h" * 201})


def test_the_command_takes_both_names_or_none(tmp_path: Path) -> None:
    command = [SCRIPTS / "branchwork", "worker", "--deployment", "branchwork"]

    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 2
    assert "--deployment and --build go together" in done.stderr
