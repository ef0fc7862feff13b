"""What attempts left on a host is kept and taken away, once nobody will go on with it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from activities.agents.base import marker_of
from activities.git import folder_lock
from activities.janitor import Janitor
from activities.owning import owned
from benches import Bench
from branchwork.names import StateFolder
from branchwork.standing import Standing, UnderWay
from repositories import (
    commit_all,
    files_of,
    make_repository,
    refs_of,
    run_git,
    worktrees_of,
    write_files,
)

ATTEMPT = "refs/branchwork/run-1/attempts/s/1"
OVER = Standing(ended_at=datetime(2026, 1, 1, tzinfo=UTC))
UNDER_WAY_HERE = Standing(attempts={"s": UnderWay(attempt=1, host="here")})
UNDER_WAY_THERE = Standing(attempts={"s": UnderWay(attempt=1, host="there")})
NEXT_ATTEMPT = Standing(attempts={"s": UnderWay(attempt=2)})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def janitor_of(bench: Bench, standings: dict[str, Standing]) -> Janitor:
    async def standing_of(run: str) -> Standing | None:
        return standings.get(run)

    return Janitor(bench.state, "here", {}, bench.blocking, standing_of)


@pytest.fixture
def orphan(bench: Bench) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of the attempt, in a session of its own, that does not care for TERM."""
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    folder = bench.state.attempt("run-1", "s", 1)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, **marker_of(folder)},
        start_new_session=True,
    )
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("standing", [OVER, Standing(), UNDER_WAY_THERE, NEXT_ATTEMPT])
async def test_what_nobody_goes_on_with_is_kept_and_then_removed(
    bench: Bench, standing: Standing
) -> None:
    bench.interrupted({"half": "half\n"})

    await janitor_of(bench, {"run-1": standing}).tidy()

    assert files_of(bench.repository, refs_of(bench.repository)[ATTEMPT])["half"] == "half"
    assert worktrees_of(bench.repository) == []
    assert list(bench.state.worktrees.glob("*")) == []
    assert list(bench.state.trash.glob("*")) == []


@pytest.mark.parametrize("standing", [None, UNDER_WAY_HERE, Standing(is_deciding=True)])
async def test_what_somebody_may_go_on_with_is_not_touched(
    bench: Bench, standing: Standing | None, orphan: "subprocess.Popen[bytes]"
) -> None:
    request = bench.interrupted({"half": "half\n"})

    await janitor_of(bench, {"run-1": standing} if standing else {}).tidy()

    assert (bench.place(request).worktree / "half").read_text() == "half\n"
    assert orphan.poll() is None


async def test_what_an_attempt_still_uses_is_not_touched(bench: Bench) -> None:
    request = bench.interrupted({"half": "half\n"})

    async with owned(bench.state.attempts("run-1", "s")):
        await janitor_of(bench, {"run-1": OVER}).tidy()

    assert (bench.place(request).worktree / "half").read_text() == "half\n"


async def test_it_is_decided_while_no_try_can_start(bench: Bench) -> None:
    request = bench.interrupted({"half": "half\n"})
    attempts = bench.state.attempts("run-1", "s")
    began = asyncio.Event()

    async def start_a_try() -> None:
        async with owned(attempts):
            began.set()

    async def standing_of(run: str) -> Standing | None:
        del run
        asyncio.ensure_future(start_a_try())  # noqa: RUF006  # it ends when the janitor is done
        await asyncio.sleep(0.5)
        return UNDER_WAY_HERE if began.is_set() else OVER

    await Janitor(bench.state, "here", {}, bench.blocking, standing_of).tidy()

    assert not bench.place(request).worktree.exists()
    async with asyncio.timeout(10):
        await began.wait()


async def test_processes_are_ended_wherever_the_worktree_went(
    bench: Bench, orphan: "subprocess.Popen[bytes]"
) -> None:
    request = bench.interrupted({"half": "half\n"})
    bench.place(request).remove()

    await janitor_of(bench, {"run-1": OVER}).tidy()

    assert orphan.wait(10) < 0


async def test_a_process_of_another_state_folder_is_not_ours(bench: Bench, tmp_path: Path) -> None:
    other = StateFolder(tmp_path / "state of another")
    marker = marker_of(other.attempt("run-1", "s", 1))
    process = subprocess.Popen(["sleep", "300"], env={**os.environ, **marker})

    await janitor_of(bench, {"run-1": OVER}).tidy()

    assert process.poll() is None
    process.kill()
    process.wait()


async def test_the_commits_of_an_agent_that_removed_its_worktree_are_kept(bench: Bench) -> None:
    request = bench.interrupted({})
    worktree = bench.place(request).worktree
    write_files(worktree, {"made": "made"})
    commit = commit_all(worktree, "agent's own")
    worktree.rename(worktree.with_name(".moved away"))

    await janitor_of(bench, {"run-1": OVER}).tidy(thoroughly=True)

    assert refs_of(bench.repository)[ATTEMPT] == commit
    assert list((bench.repository / ".git").glob("worktrees/*")) == []


async def test_dead_locks_go_when_a_worker_starts(bench: Bench) -> None:
    bench.interrupted({})
    lock = bench.repository / ".git/refs/branchwork/run-1/steps/s.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    os.utime(lock, (0, 0))

    await janitor_of(bench, {"run-1": UNDER_WAY_HERE}).tidy(thoroughly=True)

    assert not lock.exists()


async def test_clones_that_a_kill_left_half_made_go_when_a_worker_starts(bench: Bench) -> None:
    half = bench.state.repositories / "of-a-dead-worker" / "partial.git"
    made = bench.state.repositories / "of-a-living-one" / "partial.git"
    half.mkdir(parents=True)
    made.mkdir(parents=True)

    with folder_lock(made.parent):
        await janitor_of(bench, {}).tidy(thoroughly=True)

    assert not half.exists()
    assert made.exists()


async def test_late_work_does_not_take_the_ref_of_a_later_turn(bench: Bench) -> None:
    bench.interrupted({"half": "half\n"})
    later = run_git(bench.repository, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "later")
    run_git(bench.repository, "update-ref", ATTEMPT, later)

    await janitor_of(bench, {"run-1": UNDER_WAY_THERE}).tidy()

    refs = refs_of(bench.repository)
    (beside,) = [ref for ref in refs if ref.startswith(f"{ATTEMPT}.aside-")]
    assert refs[ATTEMPT] == later
    assert files_of(bench.repository, refs[beside])["half"] == "half"


async def test_one_worktree_that_cannot_be_removed_does_not_stop_the_others(bench: Bench) -> None:
    bench.interrupted({"half": "half\n"})
    stranger = bench.state.worktree("another-run", "s")
    write_files(stranger, {"mine": "mine"})

    await janitor_of(bench, {"run-1": OVER, "another-run": OVER}).tidy()

    assert worktrees_of(bench.repository) == []
    assert (stranger / "mine").read_text() == "mine"
    assert run_git(bench.repository, "status", "--porcelain") == ""


async def test_a_worktree_whose_repository_was_moved_away_stays(
    bench: Bench, tmp_path: Path
) -> None:
    request = bench.interrupted({"half": "half\n"})
    moved = bench.repository.rename(tmp_path / "moved")
    make_repository(bench.repository)

    await janitor_of(bench, {"run-1": OVER}).tidy(thoroughly=True)
    away = (bench.place(request).worktree / "half").read_text()
    bench.repository.rename(tmp_path / "another")
    moved.rename(bench.repository)
    await janitor_of(bench, {"run-1": OVER}).tidy()

    assert away == "half\n"
    assert files_of(bench.repository, refs_of(bench.repository)[ATTEMPT])["half"] == "half"


async def test_a_worktree_without_a_record_that_can_be_read_stays(bench: Bench) -> None:
    request = bench.interrupted({"half": "half\n"})
    place = bench.place(request)
    (place.folder / "record.json").write_text("{}")

    await janitor_of(bench, {"run-1": OVER}).tidy()

    assert (place.worktree / "half").read_text() == "half\n"
