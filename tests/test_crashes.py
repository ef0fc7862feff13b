"""Processes killed for real, in the middle of agents: runs end by themselves, nothing is lost."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from commands import Commands, commands_in
from repositories import files_of, make_repository, refs_of, worktrees_of
from workers import processes_of

PLAN = """\
plan: long
lost_after: 4s
steps:
  - id: first
    run: echo first >> {ledger}; echo one > one
    creates: [one]
  - id: second
    run: |
      echo second >> {ledger}
      echo half > half
      until test -e {ledger}.go; do sleep 0.1; done
      rm half
      cat one > two
    requires: [one]
    creates: [two]
  - id: third
    run: echo third >> {ledger}; cat two > three
    requires: [two]
    creates: [three]
"""


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with commands_in(make_repository(tmp_path / "repository"), tmp_path / "state") as commands:
        yield commands


def kill(commands: Commands, who: str) -> None:
    record = Path(commands.environment["XDG_STATE_HOME"], "branchwork", who, f"{who}.json")
    os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)


def plan_in(commands: Commands, ledger: Path) -> str:
    return commands.plan(PLAN.format(ledger=ledger), f"{ledger.name}.yaml")


def let_go_on(ledger: Path) -> None:
    ledger.with_name(f"{ledger.name}.go").touch()


def until_token(ledger: Path, token: str) -> None:
    for _ in range(600):
        if ledger.exists() and token in ledger.read_text().split():
            return
        time.sleep(0.1)
    raise AssertionError(f"{token} never came")


def end_agents_of(run: str) -> None:
    while found := processes_of(run):
        for line in found:
            with suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)


def leftovers(commands: Commands, run: str) -> list[Any]:
    trash = Path(commands.environment["XDG_STATE_HOME"], "branchwork", "trash")
    found = [*worktrees_of(commands.repository), *processes_of(run), *trash.glob("*")]
    return [*found, *commands.repository.glob(".git/**/*.lock")]


def nothing_left(commands: Commands, run: str, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while leftovers(commands, run):
        if time.monotonic() > until:
            raise AssertionError(f"left over: {leftovers(commands, run)}")
        time.sleep(0.5)
    return True


def test_runs_survive_the_death_of_the_worker_and_a_cancel_meanwhile(
    commands: Commands, tmp_path: Path
) -> None:
    ledger, other = tmp_path / "ledger", tmp_path / "other"
    commands("run", plan_in(commands, ledger), "--detach", "--id", "long-goes-on")
    commands("run", plan_in(commands, other), "--detach", "--id", "long-cancelled")
    for run in ("long-goes-on", "long-cancelled"):
        commands.until_step(run, "second", "running")
    for found in (ledger, other):
        until_token(found, "second")
    time.sleep(1)

    kill(commands, "worker")
    cancelling = commands.start("cancel", "long-cancelled")
    commands("up")
    let_go_on(ledger)
    watched = commands("watch", "long-goes-on")
    cancelling.communicate(timeout=90)

    report = commands.json("status", "long-goes-on")
    assert watched.returncode == 0, watched.stderr
    assert files_of(commands.repository, report["branch"])["three"] == "one"
    assert ledger.read_text().split() == ["first", "second", "third"]
    assert commands.json("status", "long-cancelled")["outcome"] == "cancelled"
    assert nothing_left(commands, "long-goes-on", 20)
    assert nothing_left(commands, "long-cancelled", 60)
    cancelled = refs_of(commands.repository, "refs/branchwork/long-cancelled/attempts/second")
    assert any("half" in files_of(commands.repository, commit) for commit in cancelled.values())


def test_an_agent_that_died_with_its_worker_starts_anew_and_its_work_is_kept(
    commands: Commands, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    commands("run", plan_in(commands, ledger), "--detach", "--id", "long-power")
    commands.until_step("long-power", "second", "running")
    until_token(ledger, "second")

    kill(commands, "worker")
    kill(commands, "server")
    end_agents_of("long-power")
    let_go_on(ledger)
    commands("up")
    watched = commands("watch", "long-power")

    kept = refs_of(commands.repository, "refs/branchwork/long-power/attempts").values()
    assert watched.returncode == 0, watched.stderr
    assert ledger.read_text().split() == ["first", "second", "second", "third"]
    assert any("half" in files_of(commands.repository, commit) for commit in kept)
    assert nothing_left(commands, "long-power", 20)


def test_runs_survive_the_death_of_the_server_and_repeat_nothing(
    commands: Commands, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    commands("run", plan_in(commands, ledger), "--detach", "--id", "long-server")
    commands.until_step("long-server", "second", "running")

    kill(commands, "server")
    gone = commands("status", "long-server")
    commands("up")
    let_go_on(ledger)
    watched = commands("watch", "long-server")

    assert gone.returncode == 1
    assert gone.stdout == ""
    assert "start one with `branchwork up`" in gone.stderr
    assert watched.returncode == 0, watched.stderr
    assert ledger.read_text().split() == ["first", "second", "third"]
    assert nothing_left(commands, "long-server", 5)


def test_a_worker_told_to_stop_leaves_its_agents_to_the_next_one(
    commands: Commands, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    commands("run", plan_in(commands, ledger), "--detach", "--id", "long-down")
    commands.until_step("long-down", "second", "running")
    until_token(ledger, "second")

    commands("down")
    left = processes_of("long-down")
    commands("up")
    let_go_on(ledger)
    watched = commands("watch", "long-down")

    assert left != []
    assert watched.returncode == 0, watched.stderr
    assert ledger.read_text().split() == ["first", "second", "third"]
    assert nothing_left(commands, "long-down", 20)
