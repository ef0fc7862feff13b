"""A host that was taken for lost comes back: what it left goes, what runs elsewhere goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from temporalio.client import Client

from branchwork.client import Branchwork
from branchwork.contract import RunRequest
from branchwork.names import new_run_id
from branchwork.plan import Plan
from repositories import files_of, make_repository, refs_of, run_git
from worker_processes import WorkerProcess, worker_process
from workers import processes_of

AGENT = """
echo $$ >> {table}/agents
if test $(wc -l < {table}/agents) = 1; then
    trap '' TERM
    echo half > half
    setsid sleep 300 &
    while true; do sleep 1; done
fi
until test -e {table}/go; do sleep 0.1; done
echo made > made
"""
"""The first one never ends, and does not care for TERM; whoever comes after waits to be told."""


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    make_repository(tmp_path / "origin")
    run_git(tmp_path, "clone", "--quiet", "--bare", "origin", "shared.git")
    return tmp_path / "shared.git"


@pytest.fixture
async def zombie(client: Client, tmp_path: Path) -> AsyncIterator[WorkerProcess]:
    with worker_process(client, tmp_path / "alpha", "alpha") as worker:
        yield worker


async def until(condition: Callable[[], bool], seconds: float = 80) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.1)


def of_host(run: str, worker: WorkerProcess) -> list[str]:
    """Its worktrees, and the processes of its agents."""
    pids = [int(line.split()[0]) for line in processes_of(run)]
    markers = [_marker(pid) for pid in pids]
    worktrees = [str(path) for path in worker.state.worktrees.glob("*/*")]
    return [*worktrees, *(mark for mark in markers if mark.startswith(str(worker.state.root)))]


def _marker(pid: int) -> str:
    try:
        return psutil.Process(pid).environ().get("BRANCHWORK_PROMPT_FILE", "")
    except psutil.Error:
        return ""


@pytest.mark.timeout(240)
async def test_a_host_that_comes_back_ends_agents_of_attempts_that_run_elsewhere_by_now(
    client: Client, zombie: WorkerProcess, remote: Path, tmp_path: Path
) -> None:
    step = {"id": "s", "run": AGENT.format(table=tmp_path), "creates": ["made"]}
    plan = Plan.model_validate({"plan": "test", "steps": [step], "lost_after": "3s"})
    runs = Branchwork(client)
    request = RunRequest(plan=plan, repository=f"file://{remote}")
    run = await runs.start(request, new_run_id("test"))
    await until(lambda: bool(list(zombie.state.worktrees.glob("*/*/half"))))

    psutil.Process(zombie.process.pid).suspend()
    with worker_process(client, tmp_path / "beta", "beta") as successor:
        agents = tmp_path / "agents"
        await until(lambda: len(agents.read_text().split()) == 2)
        left = of_host(run, zombie)
        psutil.Process(zombie.process.pid).resume()
        await until(lambda: not of_host(run, zombie))
        goes_on = of_host(run, successor)
        (tmp_path / "go").touch()
        report = await asyncio.wait_for(runs.wait(run), 60)

    kept = refs_of(remote, f"refs/branchwork/{run}/attempts/s").values()
    assert left
    assert goes_on
    assert report.outcome == "succeeded", report
    assert files_of(remote, str(report.branch)).keys() == {"README", "made"}
    assert any("half" in files_of(remote, commit) for commit in kept), zombie.log()
