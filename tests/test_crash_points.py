"""Every activity, killed before and after each git that it calls, and then called again."""

import importlib
import inspect
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

import activities
from activities.hosts import HostActivities
from benches import Bench, call
from branchwork.contract import BaseRequest, HostRequest, LandRequest, Need
from disks import shim
from repositories import commit_on, files_of, head_of, refs_of, state_of, worktrees_of
from worker_processes import worker_process

MOST_CALLS = 40
CALLED_TWICE = {"resolve_base", "run_step", "land_run", "is_served"}
"""Here, each in a test of its own."""

SCRIPT = """
import asyncio, pathlib, sys
from benches import Bench, call
from branchwork import contract
folder = pathlib.Path(sys.argv[1])
bench = Bench(folder)
activity = getattr(bench.steps if sys.argv[2] == "run_step" else bench.runs, sys.argv[2])
request = getattr(contract, sys.argv[3]).model_validate_json((folder / "request").read_text())
(folder / "calls").write_text("0")
asyncio.run(call(activity, request))
"""

KILLING = """
test -e {folder}/calls || exec {git} "$@"
count=$(($(cat {folder}/calls) + 1)); echo $count >{folder}/calls
test $count = {number} || exec {git} "$@"
test {place} = before || {git} "$@"
exec kill -9 $PPID"""


class Crash:
    """A process that calls an activity and is killed at one of its calls of git."""

    def __init__(self, folder: Path, number: int, place: str) -> None:
        folder.mkdir()
        self._folder = folder
        git = shutil.which("git")
        first = KILLING.format(folder=folder, git=git, number=number, place=place)
        self._environ: Mapping[str, str] = shim(folder, first)
        self.bench = Bench(folder)

    def happens(self, activity: str, asked: Any) -> bool:
        """False for an activity that ended before."""
        (self._folder / "request").write_text(asked.model_dump_json())
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, self._folder, activity, type(asked).__name__],
            env={**self._environ, "PYTHONPATH": str(Path(__file__).parent)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        (self._folder / "calls").unlink()
        assert done.returncode in (0, -9), done.stderr.decode()
        return done.returncode != 0


def test_no_activity_is_missing_here() -> None:
    modules = [
        importlib.import_module(f"activities.{module.name}")
        for module in pkgutil.iter_modules(activities.__path__)
    ]
    classes = {
        found for module in modules for _, found in inspect.getmembers(module, inspect.isclass)
    }
    definitions = [
        getattr(method, "__temporal_activity_definition", None)
        for found in classes
        for method in vars(found).values()
    ]

    assert {definition.name for definition in definitions if definition} == CALLED_TWICE


@pytest.mark.parametrize("place", ["before", "after"])
async def test_a_base_is_pinned_once_wherever_the_first_try_was_killed(
    tmp_path: Path, place: str
) -> None:
    for number in range(1, MOST_CALLS):
        crash = Crash(tmp_path / str(number), number, place)
        repository = crash.bench.repository
        asked = BaseRequest(run="run-1", repository=str(repository), revision="main")
        happened = crash.happens("resolve_base", asked)

        base = await call(crash.bench.runs.resolve_base, asked)

        assert refs_of(repository) == {"refs/branchwork/run-1/base": base.commit}
        if not happened:
            break
    assert number > 2


@pytest.mark.parametrize("place", ["before", "after"])
async def test_an_agent_works_once_wherever_the_first_try_was_killed(
    tmp_path: Path, place: str
) -> None:
    for number in range(1, MOST_CALLS):
        crash = Crash(tmp_path / str(number), number, place)
        bench, ledger = crash.bench, tmp_path / f"{number}.ledger"
        before = state_of(bench.repository)
        asked = bench.request(f"echo x >> {ledger}; echo made > made", creates=["made"])
        happened = crash.happens("run_step", asked)

        end = await call(bench.steps.run_step, asked)

        refs = refs_of(bench.repository)
        assert (end.outcome, end.changed) == ("succeeded", ("made",))
        assert ledger.read_text() == "x\n"
        assert refs.keys() == {f"refs/branchwork/run-1/{x}" for x in ("attempts/s/1", "steps/s")}
        assert set(refs.values()) == {end.result}
        assert worktrees_of(bench.repository) == []
        assert list(bench.repository.glob(".git/**/*.lock")) == []
        assert state_of(bench.repository) == before
        if not happened:
            break
    assert number > 5


@pytest.mark.parametrize("place", ["before", "after"])
async def test_a_run_lands_once_wherever_the_first_try_was_killed(
    tmp_path: Path, place: str
) -> None:
    for number in range(1, MOST_CALLS):
        crash = Crash(tmp_path / str(number), number, place)
        repository = crash.bench.repository
        base = head_of(repository)
        leaves = [Need(step=x, commit=commit_on(repository, base, {x: x})) for x in ("a", "b")]
        asked = LandRequest(
            run="run-1", repository=str(repository), base=base, leaves=tuple(leaves)
        )
        happened = crash.happens("land_run", asked)

        landing = await call(crash.bench.runs.land_run, asked)

        assert files_of(repository, landing.commit).keys() == {"README", "a", "b"}
        assert head_of(repository, "branchwork/run-1") == landing.commit
        assert refs_of(repository) == {"refs/branchwork/run-1/result": landing.commit}
        if not happened:
            break
    assert number > 4


async def test_a_host_is_looked_at_twice_with_the_same_answer(
    client: Client, tmp_path: Path
) -> None:
    hosts, asked = HostActivities(client), HostRequest(host="host-a")
    with worker_process(client, tmp_path):
        for _ in range(5):
            # It takes a while to start.
            first = await call(hosts.is_served, asked)
            if first:
                break
        second = await call(hosts.is_served, asked)

    assert (first, second) == (True, True)
