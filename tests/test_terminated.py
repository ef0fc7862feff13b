"""`temporal workflow terminate` asks nobody to clean up; it is done all the same.

And by nobody who is not sure that the run has ended.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from temporalio.client import Client

from branchwork.client import Branchwork
from branchwork.contract import RunRequest
from branchwork.names import new_run_id
from branchwork.plan import Plan
from commands import BRANCHWORK
from repositories import files_of, make_repository, refs_of, worktrees_of
from worker_processes import WorkerProcess, worker_process
from workers import processes_of

HIDDEN = "a secret of at least so many characters"
AGENT = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "alone" not in sys.argv:
    subprocess.Popen([sys.executable, *sys.argv, "alone"], start_new_session=True)
    pathlib.Path("half").write_text("half")
else:
    pathlib.Path("other half").write_text("other half")
while True:
    when = "late" if pathlib.Path(sys.argv[1]).exists() else "early"
    print(os.environ["SECRET"], when, flush=True)
    time.sleep(0.1)
"""


@pytest.fixture
async def worker(client: Client, tmp_path: Path) -> AsyncIterator[WorkerProcess]:
    with worker_process(client, tmp_path / "state", environ={"SECRET": HIDDEN}) as worker:
        yield worker


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository", {"agent.py": AGENT})


async def start(client: Client, repository: Path, state: WorkerProcess) -> str:
    """A run whose agents, that do not care for TERM, have written something."""
    command = f"exec python3 agent.py {repository}.late"
    steps = [{"id": name, "run": command, "env": {"SECRET": None}} for name in ("a", "b")]
    plan = Plan.model_validate({"plan": "test", "steps": steps})
    run = await Branchwork(client).start(
        RunRequest(plan=plan, repository=str(repository)), new_run_id("test")
    )
    halves = [state.state.worktree(run, step) / name for step in "ab" for name in HALVES]
    await until(lambda: all(half.exists() for half in halves))
    return run


HALVES = ("half", "other half")


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.1)


async def nothing_left(worker: WorkerProcess, repository: Path, run: str) -> None:
    """And what the agents wrote is on refs."""
    await until(
        lambda: (
            not [
                *processes_of(run),
                *worktrees_of(repository),
                *worker.state.worktrees.glob("*"),
                *worker.state.trash.glob("*"),
                *repository.glob(".git/**/*.lock"),
            ]
        )
    )
    for step in "ab":
        refs = refs_of(repository, f"refs/branchwork/{run}/attempts/{step}")
        kept = [files_of(repository, commit) for commit in refs.values()]
        assert any(set(HALVES) <= set(files) for files in kept), worker.log()


async def test_a_worker_takes_away_what_a_terminated_run_left(
    client: Client, worker: WorkerProcess, repository: Path
) -> None:
    run = await start(client, repository, worker)

    await client.get_workflow_handle(run).terminate()

    await nothing_left(worker, repository, run)
    assert worker.process.poll() is None


async def test_the_next_worker_takes_away_what_a_terminated_run_left(
    client: Client, worker: WorkerProcess, repository: Path
) -> None:
    run = await start(client, repository, worker)
    worker.kill()
    survivors = processes_of(run)
    late = Path(f"{repository}.late")
    late.touch()
    folder = worker.state.attempt(run, "a", 1)
    await until(lambda: b"late" in (folder / "stdout").read_bytes())

    await client.get_workflow_handle(run).terminate()
    worker.start()

    await nothing_left(worker, repository, run)
    log = worker.state.log(run, "a", 1).read_text()
    assert survivors
    assert "late" in log
    assert HIDDEN not in log
    assert not (folder / "stdout").exists()


def gc(client: Client, worker: WorkerProcess, repository: Path) -> str:
    """What `branchwork gc --yes` of somebody with that server and the worker's state says."""
    done = subprocess.run(
        [str(BRANCHWORK), "gc", "--yes"],
        cwd=repository,
        env={
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME")},
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            "XDG_STATE_HOME": str(worker.state.root.parent),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


async def test_gc_waits_for_the_end_of_a_run_and_asks_the_right_server(
    client: Client, skipping_client: Client, worker: WorkerProcess, repository: Path
) -> None:
    run = await start(client, repository, worker)
    worker.kill()

    of_another = await asyncio.to_thread(gc, skipping_client, worker, repository)
    under_way = await asyncio.to_thread(gc, client, worker, repository)
    survivors = processes_of(run)
    await client.get_workflow_handle(run).terminate()
    over = await asyncio.to_thread(gc, client, worker, repository)

    assert of_another.count("may be under way on another server") == 4
    assert under_way == ""
    assert len(survivors) >= 4
    assert over.count("its run has ended") == 4
    await nothing_left(worker, repository, run)
