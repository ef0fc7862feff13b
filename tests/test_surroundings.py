"""What users and their tools do to a repository while a run is under way."""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from gates import Gate, until_told
from repositories import (
    commit_all,
    files_of,
    head_of,
    make_repository,
    refs_of,
    run_git,
    worktrees_of,
    write_files,
)
from scripted import outcomes, reason
from workers import Host, serving


def steps(*written: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"steps": list(written), **fields}


def step(name: str, run: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "run": run, **fields}


@pytest.fixture
async def host(client: Client, tmp_path: Path) -> AsyncIterator[Host]:
    async with serving(client, tmp_path) as host:
        yield host


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository", {"README": "start\n"})


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def moved(repository: Path) -> Path:
    return repository.rename(repository.with_name("moved"))


def clean_up(repository: Path) -> None:
    """As thoroughly as a user can."""
    run_git(repository, "reflog", "expire", "--expire=now", "--all")
    run_git(repository, "gc", "--quiet", "--prune=now")
    run_git(repository, "worktree", "prune")


def delete_our_refs(repository: Path) -> None:
    for ref in refs_of(repository):
        run_git(repository, "update-ref", "-d", ref)


async def test_a_repository_that_is_moved_away_while_an_agent_works_is_waited_for(
    host: Host, repository: Path, gate: Gate
) -> None:
    run = await host.start(repository, steps(step("a", f"{gate.waiting}; echo made > made")))
    await gate.reached()
    aside = moved(repository)

    gate.open()
    failure = await until_told(host.client, run, "RepositoryGone")
    work = (host.state.worktree(run, "a") / "made").read_text()
    aside.rename(repository)
    report = await host.runs.wait(run)

    assert str(repository) in failure
    assert "put it back" in failure
    assert work == "made\n"
    assert report.outcome == "succeeded"
    assert files_of(repository, str(report.branch))["made"] == "made"
    assert await host.leftovers(repository, run) == []


async def test_a_repository_that_is_moved_away_before_a_worktree_is_made_is_waited_for(
    host: Host, repository: Path, gate: Gate
) -> None:
    again = {"attempts": 2, "initial": "3s"}
    run = await host.start(
        repository, steps(step("a", f"{gate.waiting}; test -e {repository}.again", retry=again))
    )
    await gate.reached()
    gate.open()
    while (await host.runs.report(run)).steps[0].status != "backing_off":
        await asyncio.sleep(0.05)

    aside = moved(repository)
    await until_told(host.client, run, "RepositoryGone")
    repository.with_name("repository.again").touch()
    aside.rename(repository)
    report = await host.runs.wait(run)

    assert report.outcome == "succeeded"
    assert report.steps[0].attempts == 2
    assert await host.leftovers(repository, run) == []


async def test_another_repository_in_its_place_fails_the_step_and_leaves_its_work(
    host: Host, repository: Path, gate: Gate
) -> None:
    run = await host.start(repository, steps(step("a", f"{gate.waiting}; echo made > made")))
    await gate.reached()
    aside = moved(repository)
    run_git(aside.parent, "clone", "--quiet", str(aside), str(repository))

    gate.open()
    report = await host.runs.wait(run)

    worktree = host.state.worktree(run, "a")
    assert reason(report, "a").startswith(f"WorktreeLost: {worktree} is no worktree of")
    assert "the files are where they were" in reason(report, "a")
    assert (worktree / "made").read_text() == "made\n"


async def test_a_base_that_is_pushed_away_and_cleaned_up_is_held_for_the_run(
    host: Host, repository: Path, gate: Gate
) -> None:
    base = head_of(repository)
    run = await host.start(
        repository,
        steps(
            step("a", f"{gate.waiting}; echo made > made", creates=["made"]),
            step("b", "cat README made > both", requires=["made"]),
        ),
    )
    await gate.reached()
    run_git(repository, "checkout", "--quiet", "--orphan", "other")
    write_files(repository, {"README": "other\n"})
    commit_all(repository, "other")
    run_git(repository, "branch", "--quiet", "-D", "main")
    clean_up(repository)

    gate.open()
    report = await host.runs.wait(run)

    assert report.outcome == "succeeded"
    assert report.base == base
    assert files_of(repository, str(report.branch))["both"] == "start\nmade"
    assert (repository / "README").read_text() == "other\n"


async def test_results_whose_refs_are_deleted_are_used_as_long_as_git_has_them(
    host: Host, repository: Path, gate: Gate
) -> None:
    run = await host.start(
        repository,
        steps(
            step("a", "echo made > made", creates=["made"]),
            step("b", f"{gate.waiting}; cp made copy", requires=["made"], creates=["copy"]),
            step("c", "cp copy more", requires=["copy"]),
        ),
    )
    await gate.reached()
    delete_our_refs(repository)
    clean_up(repository)

    gate.open()
    report = await host.runs.wait(run)

    assert report.outcome == "succeeded"
    assert files_of(repository, str(report.branch))["more"] == "made"


async def test_results_that_were_deleted_and_cleaned_up_are_named(
    host: Host, repository: Path, gate: Gate
) -> None:
    run = await host.start(
        repository,
        steps(
            step("a", "echo made > made", creates=["made"]),
            step("wait", gate.waiting),
            step("b", "cp made copy", requires=["made"], needs=["wait"]),
        ),
    )
    await gate.reached()
    while (await host.runs.report(run)).steps[0].outcome != "succeeded":
        await asyncio.sleep(0.05)
    delete_our_refs(repository)
    clean_up(repository)

    gate.open()
    report = await host.runs.wait(run)

    assert outcomes(report) == {"a": "succeeded", "wait": "succeeded", "b": "failed"}
    assert reason(report, "b").startswith("ResultGone: what step 'a' made, ")
    assert f"refs/branchwork/{run}/steps/a was deleted" in reason(report, "b")


async def test_locks_of_the_users_checkout_hold_up_nothing(host: Host, repository: Path) -> None:
    names = ("index.lock", "HEAD.lock", "packed-refs.lock", "config.lock", "refs/heads/main.lock")
    locks = [repository / ".git" / name for name in names]
    for lock in locks:
        lock.touch()

    report = await host.run(
        repository, steps(step("a", "echo made > made"), step("b", "echo more > more"))
    )

    assert report.outcome == "succeeded"
    assert all(lock.exists() for lock in locks)


async def test_a_lock_on_the_runs_branch_is_named_waited_for_and_never_removed(
    host: Host, repository: Path, gate: Gate
) -> None:
    run = await host.start(repository, steps(step("a", f"{gate.waiting}; echo made > made")))
    await gate.reached()
    lock = repository / f".git/refs/heads/branchwork/{run}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    os.utime(lock, (time.time() - 60, time.time() - 60))

    gate.open()
    failure = await until_told(host.client, run, "Locked", "land")
    still_there = lock.exists()
    lock.unlink()
    report = await host.runs.wait(run)

    assert str(lock) in failure
    assert still_there
    assert report.outcome == "succeeded"


async def test_a_commit_that_a_user_writes_in_a_worktree_of_ours_is_waited_for(
    host: Host, repository: Path, gate: Gate, tmp_path: Path
) -> None:
    run = await host.start(repository, steps(step("a", f"{gate.waiting}; echo made > made")))
    await gate.reached()
    worktree = host.state.worktree(run, "a")
    (worktree / "README").write_text("mine\n")
    writing = Gate(tmp_path, "editor")
    editor = {"GIT_EDITOR": f"sh -c '{writing.waiting}; echo mine > \"$1\"' sh"}
    commit = subprocess.Popen(
        ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--all"],
        cwd=worktree,
        env={**os.environ, **editor},
        stdout=subprocess.DEVNULL,
    )
    await writing.reached()

    gate.open()
    failure = await until_told(host.client, run, "Locked")
    writing.open()
    committed = await asyncio.to_thread(commit.wait)
    report = await host.runs.wait(run)

    assert f"process {commit.pid}" in failure
    assert "index.lock" in failure
    assert committed == 0
    assert report.outcome == "succeeded"
    assert files_of(repository, str(report.branch))["made"] == "made"


async def test_a_branch_that_is_there_already_fails_the_run_and_is_left_alone(
    host: Host, repository: Path, gate: Gate, tmp_path: Path
) -> None:
    run = await host.start(repository, steps(step("a", f"{gate.waiting}; echo made > made")))
    await gate.reached()
    elsewhere = tmp_path / "elsewhere"
    run_git(repository, "worktree", "add", "--quiet", "-b", f"branchwork/{run}", str(elsewhere))

    gate.open()
    report = await host.runs.wait(run)

    assert str(report.reason).startswith("BranchTaken: the run's work is ")
    assert head_of(elsewhere) == head_of(repository)
    assert refs_of(repository)[f"refs/branchwork/{run}/steps/a"] == report.steps[0].result


async def test_a_worktree_that_was_locked_is_kept_and_taken_away_like_any_other(
    host: Host, repository: Path, gate: Gate, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    run_git(repository, "worktree", "add", "--quiet", "--detach", str(mine))
    run_git(repository, "worktree", "lock", str(mine))
    run = await host.start(repository, steps(step("a", f"{gate.waiting}; echo made > made")))
    await gate.reached()
    run_git(repository, "worktree", "lock", str(host.state.worktree(run, "a")))

    gate.open()
    report = await host.runs.wait(run)

    assert files_of(repository, str(report.branch))["made"] == "made"
    assert worktrees_of(repository) == [mine]


@pytest.mark.parametrize("harm", ["garbage", "", None])
async def test_an_object_that_is_broken_or_missing_fails_the_step_with_its_name(
    host: Host, repository: Path, harm: str | None
) -> None:
    blob = head_of(repository, "HEAD:README")
    path = repository / ".git/objects" / blob[:2] / blob[2:]
    path.unlink()
    if harm is not None:
        path.write_text(harm)

    report = await host.run(repository, steps(step("a", "true")))

    assert reason(report, "a").startswith("BrokenRepository: ")
    assert blob in reason(report, "a")
    assert "git fsck" in reason(report, "a")
    assert await host.leftovers(repository, report.run) == []
