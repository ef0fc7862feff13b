"""Hosts with nothing in common but a Temporal server and a remote: real workers, real pushes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.client import Client

from branchwork.client import Branchwork
from branchwork.contract import RunRequest
from branchwork.names import new_run_id
from branchwork.outcomes import RunReport
from branchwork.plan import Plan
from repositories import files_of, head_of, make_repository, refs_of, run_git
from worker_processes import WorkerProcess, worker_process
from workers import processes_of

MEET = """
touch {table}/$BRANCHWORK_STEP
until test -e {table}/a && test -e {table}/b; do sleep 0.1; done
echo $BRANCHWORK_STEP > $BRANCHWORK_STEP
"""
"""An agent that ends only if another works at the same time."""

LINGER = """
echo half > half
echo $BRANCHWORK_STEP >> {ledger}
test "$(wc -l < {ledger})" -gt 1 || sleep 300
rm half
cat a > b
"""
"""The first one never ends by itself; whoever comes after it starts clean and does."""


class Fleet:
    """Hosts of one slot each, and the remote that they share."""

    def __init__(self, client: Client, folder: Path, stack: ExitStack) -> None:
        self._client, self._folder, self._stack = client, folder, stack
        self.runs = Branchwork(client)
        origin = make_repository(folder / "origin")
        run_git(folder, "clone", "--quiet", "--bare", str(origin), "shared.git")
        self.remote = folder / "shared.git"
        self.url = f"file://{self.remote}"

    def host(self, name: str, *options: str) -> WorkerProcess:
        options = options or ("--slots", "1")
        worker = worker_process(self._client, self._folder / name, name, *options)
        return self._stack.enter_context(worker)

    async def start(self, *steps: Mapping[str, Any], **plan: Any) -> str:
        written = Plan.model_validate({"plan": "test", "steps": steps, **plan})
        request = RunRequest(plan=written, repository=self.url)
        return await self.runs.start(request, new_run_id("test"))

    async def end(self, run: str) -> RunReport:
        async with asyncio.timeout(100):
            return await self.runs.wait(run)


@pytest.fixture
async def fleet(client: Client, tmp_path: Path) -> AsyncIterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(client, tmp_path, stack)


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.1)


def worked_at(host: WorkerProcess, run: str) -> set[str]:
    """The steps of which that host has attempts."""
    return {path.name for path in (host.state.runs / run).glob("*")}


def die(host: WorkerProcess, run: str) -> None:
    """The machine, not only its worker."""
    host.process.send_signal(signal.SIGSTOP)
    host.kill()
    end_agents(run)


def end_agents(run: str) -> None:
    for line in processes_of(run):
        try:
            os.kill(int(line.split()[0]), signal.SIGKILL)
        except ProcessLookupError:
            continue


def leftovers(host: WorkerProcess) -> list[Path]:
    found = [*host.state.worktrees.glob("*"), *host.state.trash.glob("*")]
    clones = host.state.repositories.glob("*/clone.git")
    return [*found, *(entry for clone in clones for entry in clone.glob("worktrees/*"))]


async def test_two_hosts_run_one_plan_together(fleet: Fleet, tmp_path: Path) -> None:
    hosts = [fleet.host(name) for name in ("alpha", "beta")]
    meet = MEET.format(table=tmp_path)

    run = await fleet.start(
        {"id": "a", "run": meet, "creates": ["a"]},
        {"id": "b", "run": meet, "creates": ["b"]},
        {"id": "c", "run": "cat a b > c", "requires": ["a", "b"], "creates": ["c"]},
    )
    report = await fleet.end(run)

    worked = [worked_at(host, run) for host in hosts]
    refs = refs_of(fleet.remote, f"refs/branchwork/{run}")
    assert report.outcome == "succeeded", report
    assert report.branch == f"branchwork/{run}"
    assert files_of(fleet.remote, str(report.branch))["c"] == "a\nb"
    assert sorted("a" in steps for steps in worked) == [False, True]
    assert sorted("b" in steps for steps in worked) == [False, True]
    assert refs[f"refs/branchwork/{run}/base"] == head_of(fleet.remote, "main")
    assert {refs[f"refs/branchwork/{run}/steps/{step}"] for step in "abc"} == {
        step.result for step in report.steps
    }
    await until(lambda: not any(leftovers(host) for host in hosts))


async def test_a_run_outlives_a_host_that_is_killed_for_good(fleet: Fleet, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    lost = fleet.host("alpha")
    run = await fleet.start(
        {"id": "a", "run": "echo a > a", "creates": ["a"]},
        {"id": "b", "run": LINGER.format(ledger=ledger), "requires": ["a"], "creates": ["b"]},
        {"id": "c", "run": "cat b > c", "requires": ["b"], "creates": ["c"]},
        lost_after="4s",
    )
    await until(ledger.exists)

    die(lost, run)
    left = fleet.host("beta")
    report = await fleet.end(run)

    assert report.outcome == "succeeded", report
    assert files_of(fleet.remote, str(report.branch)).keys() == {"README", "a", "b", "c"}
    assert ledger.read_text() == "b\nb\n"
    assert [step.attempts for step in report.steps] == [1, 1, 1]
    assert worked_at(left, run) == {"b", "c"}

    lost.start()
    aside = f"refs/branchwork/{run}/attempts/b/1"
    await until(lambda: len(refs_of(fleet.remote, f"{aside}.*")) == 1)
    (kept,) = refs_of(fleet.remote, f"{aside}.*").values()
    assert files_of(fleet.remote, kept)["half"] == "half"
    await until(lambda: not leftovers(lost) and not leftovers(left))


async def test_a_host_that_comes_back_does_not_publish_over_its_successor(
    fleet: Fleet, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    agent = f"""
        echo $BRANCHWORK_STEP-$$ > made
        test -e {tmp_path}/second || {{ touch {tmp_path}/second
        until test -e '{go_on}'; do sleep 0.1; done; }}
    """
    zombie = fleet.host("alpha")
    run = await fleet.start({"id": "s", "run": agent, "creates": ["made"]}, lost_after="4s")
    await until((tmp_path / "second").exists)

    asleep = [psutil.Process(zombie.process.pid)]
    for process in asleep:
        process.suspend()
    go_on.touch()
    successor = fleet.host("beta")
    report = await fleet.end(run)
    for process in asleep:
        process.resume()

    step = f"refs/branchwork/{run}/steps/s"
    await until(lambda: not leftovers(zombie) and not leftovers(successor))
    assert report.outcome == "succeeded", report
    assert worked_at(successor, run) == {"s"}
    assert refs_of(fleet.remote)[step] == report.steps[0].result
    assert head_of(fleet.remote, str(report.branch)) == report.result
    kept = refs_of(fleet.remote, f"refs/branchwork/{run}/attempts/s").values()
    assert len({files_of(fleet.remote, commit)["made"] for commit in kept}) == 2


async def test_an_agent_that_ended_while_the_remote_is_away_is_not_run_again(
    fleet: Fleet, tmp_path: Path
) -> None:
    ledger, away = tmp_path / "ledger", tmp_path / "away.git"
    host = fleet.host("alpha")
    run = await fleet.start(
        {
            "id": "s",
            "run": f"echo x >> {ledger}; until test -e {away}; do sleep 0.1; done; echo > made",
            "creates": ["made"],
        }
    )
    await until(ledger.exists)

    fleet.remote.rename(away)
    await until(lambda: "made" in committed_at(host))
    await asyncio.sleep(1)
    under_way = (await fleet.runs.report(run)).outcome is None
    away.rename(fleet.remote)
    report = await fleet.end(run)

    assert under_way
    assert report.outcome == "succeeded", report
    assert ledger.read_text() == "x\n"
    assert files_of(fleet.remote, str(report.branch)).keys() == {"README", "made"}


def committed_at(host: WorkerProcess) -> set[str]:
    """Files that refs keep on that host."""
    clones = host.state.repositories.glob("*/clone.git")
    commits = [(clone, commit) for clone in clones for commit in refs_of(clone).values()]
    return {name for clone, commit in commits for name in files_of(clone, commit)}


async def test_a_run_is_cancelled_though_its_remote_is_away_and_its_work_follows(
    fleet: Fleet, tmp_path: Path
) -> None:
    away = tmp_path / "away.git"
    host = fleet.host("alpha")
    run = await fleet.start({"id": "s", "run": "echo half > half; sleep 300"})
    await until((host.state.worktree(run, "s") / "half").exists)

    fleet.remote.rename(away)
    await fleet.runs.cancel(run)
    report = await fleet.end(run)
    agents = processes_of(run)
    here = committed_at(host)
    away.rename(fleet.remote)

    attempt = f"refs/branchwork/{run}/attempts/s/1"
    await until(lambda: attempt in refs_of(fleet.remote))
    await until(lambda: not leftovers(host))
    assert report.outcome == "cancelled"
    assert agents == []
    assert "half" in here
    assert files_of(fleet.remote, attempt)["half"] == "half"


HOOK = """#!/bin/sh
while read -r _ _ ref; do
    case "$ref" in {refs}) found=1 ;; esac
done
test -n "$found" && mkdir {folder}/met 2> {folder}/no || exit 0
until test -e {folder}/go; do sleep 0.1; done
"""
"""The remote holds up the first push of such refs, and goes on with it whoever lives by then."""


@pytest.mark.parametrize(
    "refs",
    ["refs/branchwork/*/base", "refs/branchwork/*/steps/s", "refs/heads/branchwork/*"],
    ids=["base", "step", "landing"],
)
async def test_a_host_that_dies_while_it_pushes_loses_and_repeats_nothing(
    fleet: Fleet, tmp_path: Path, refs: str
) -> None:
    hook = fleet.remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK.format(refs=refs, folder=tmp_path))
    hook.chmod(0o755)
    lost = fleet.host("alpha")
    run = await fleet.start(
        {"id": "s", "run": "echo $$ > made", "creates": ["made"]},
        {"id": "t", "run": "cat made > also", "requires": ["made"], "creates": ["also"]},
        lost_after="4s",
    )
    await until((tmp_path / "met").exists)

    die(lost, run)
    fleet.host("beta")
    (tmp_path / "go").touch()
    report = await fleet.end(run)

    published = refs_of(fleet.remote)
    made = files_of(fleet.remote, str(report.branch))
    assert report.outcome == "succeeded", report
    assert made["made"] == made["also"]
    assert [step.attempts for step in report.steps] == [1, 1]
    assert head_of(fleet.remote, str(report.branch)) == report.result
    assert published[f"refs/branchwork/{run}/result"] == report.result
    for step in report.steps:
        assert published[f"refs/branchwork/{run}/steps/{step.step}"] == step.result
