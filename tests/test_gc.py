"""`gc` names what is left over, removes it only when told to, and loses no work."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activities.agents.base import marker_of
from activities.gc import Collector
from activities.gc_scene import Scene
from activities.git_locks import refs_in_work
from activities.owning import owned
from benches import Bench, call
from branchwork.collecting import Doing, Kind, Leftover, Removal, Retention
from branchwork.standing import Standing, UnderWay
from commands import Commands, commands_in
from repositories import dated_commit, files_of, make_repository, refs_of, run_git, worktrees_of

NOW = datetime.now(UTC)
LONG_AGO = Standing(ended_at=NOW - timedelta(days=40))
YESTERDAY = Standing(ended_at=NOW - timedelta(days=1))
UNDER_WAY = Standing(attempts={"s": UnderWay(attempt=1)})
ATTEMPT = "refs/branchwork/run-1/attempts/s/1"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def collector(
    bench: Bench, standings: Mapping[str, Standing], *, has_server: bool = True
) -> Collector:
    async def standing_of(run: str) -> Standing | None:
        return standings.get(run)

    retention = Retention(keep_for=timedelta(days=30), now=datetime.now(UTC), has_server=has_server)
    return Collector(
        Scene(bench.state, "here", {}, (bench.repository,), retention, bench.blocking, standing_of)
    )


async def remove_all(collector: Collector) -> list[Removal]:
    removals: list[Removal] = []
    await collector.remove_all(removals.append)
    return removals


def shown(leftovers: list[Leftover]) -> list[tuple[str, str]]:
    return [(leftover.doing, leftover.kind) for leftover in leftovers]


def age(folder: Path, days: int = 40) -> None:
    """As if nobody had touched anything in `folder` since then."""
    then = (NOW - timedelta(days=days)).timestamp()
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)


def old_ref(bench: Bench, ref: str, days: int = 40) -> str:
    """A ref on a commit of that age."""
    commit = dated_commit(bench.repository, NOW - timedelta(days=days), f"work {ref}")
    run_git(bench.repository, "update-ref", ref, commit)
    age(bench.repository / ".git" / ref, days)
    return commit


async def test_what_an_ended_run_left_is_listed_and_not_touched(bench: Bench) -> None:
    request = bench.interrupted({"half": "half\n" * 10_000})

    (found,) = await collector(bench, {"run-1": YESTERDAY}).find()

    worktree = bench.place(request).worktree
    assert (found.doing, found.kind, found.what) == (Doing.REMOVE, Kind.WORKTREE, str(worktree))
    assert (found.run, found.step, found.attempt) == ("run-1", "s", 1)
    assert found.keeps == ATTEMPT
    assert found.size_bytes is not None
    assert found.size_bytes > 40_000
    assert found.since is not None
    assert (worktree / "half").exists()


async def test_its_work_is_put_on_a_ref_before_it_is_removed(bench: Bench) -> None:
    bench.interrupted({"half": "half\n"})

    (removal,) = await remove_all(collector(bench, {"run-1": YESTERDAY}))

    assert (removal.is_done, removal.became) == (True, f"kept on {ATTEMPT}")
    assert files_of(bench.repository, refs_of(bench.repository)[ATTEMPT])["half"] == "half"
    assert worktrees_of(bench.repository) == []


async def test_what_was_just_kept_stays_for_the_whole_retention(bench: Bench) -> None:
    bench.interrupted({"half": "half\n"})
    age(bench.state.runs)

    await remove_all(collector(bench, {"run-1": LONG_AGO}))

    assert ATTEMPT in refs_of(bench.repository)


async def test_when_all_is_removed_nothing_more_is_found(bench: Bench) -> None:
    bench.interrupted({})
    old_ref(bench, "refs/branchwork/run-1/steps/s")
    age(bench.state.runs)

    removals = await remove_all(collector(bench, {"run-1": LONG_AGO}))

    assert {removal.leftover.kind for removal in removals} == {"worktree", "refs", "records"}
    assert all(removal.is_done for removal in removals)
    assert await collector(bench, {"run-1": LONG_AGO}).find() == []
    assert list(bench.state.runs.glob("*")) == list(bench.state.trash.glob("*")) == []


@pytest.mark.parametrize("standing", [UNDER_WAY, Standing(is_deciding=True)])
async def test_nothing_of_a_run_under_way_is_named(bench: Bench, standing: Standing) -> None:
    bench.interrupted({"half": "half\n"})
    old_ref(bench, "refs/branchwork/run-1/steps/t")
    age(bench.state.runs)

    assert await collector(bench, {"run-1": standing}).find() == []


async def test_a_step_that_somebody_works_on_is_not_named(bench: Bench) -> None:
    bench.interrupted({"half": "half\n"})

    async with owned(bench.state.attempts("run-1", "s")):
        assert await collector(bench, {"run-1": YESTERDAY}).find() == []


async def test_a_run_that_may_be_another_servers_is_left_alone_and_the_reason_told(
    bench: Bench,
) -> None:
    request = bench.interrupted({"half": "half\n"})

    found = await collector(bench, {}).find()
    removals = await remove_all(collector(bench, {}))

    assert shown(found) == [("leave", "worktree")]
    assert "another server" in found[0].reason
    assert removals == []
    assert bench.place(request).worktree.exists()


async def test_a_run_that_the_server_has_forgotten_is_collected(bench: Bench) -> None:
    bench.interrupted({"half": "half\n"})
    age(bench.state.runs)

    removals = await remove_all(collector(bench, {}))

    assert [removal.leftover.kind for removal in removals] == ["worktree", "records"]
    assert files_of(bench.repository, refs_of(bench.repository)[ATTEMPT])["half"] == "half"


async def test_without_a_server_runs_are_left_alone_and_junk_is_removed(bench: Bench) -> None:
    request = bench.interrupted({"half": "half\n"})
    old_ref(bench, "refs/branchwork/run-2/steps/s")
    (bench.state.trash / "old").mkdir(parents=True)
    age(bench.state.runs)
    alone = collector(bench, {}, has_server=False)

    found = await alone.find()
    removals = await remove_all(alone)

    assert shown(found) == [("leave", "worktree"), ("remove", "trash"), ("leave", "refs")]
    assert "no server" in found[0].reason
    assert [removal.leftover.kind for removal in removals] == ["trash"]
    assert bench.place(request).worktree.exists()


async def test_refs_stay_for_the_retention_and_result_branches_for_good(bench: Bench) -> None:
    old_ref(bench, "refs/branchwork/run-1/steps/s")
    old_ref(bench, "refs/branchwork/run-1/attempts/s/1")
    old_ref(bench, "refs/heads/branchwork/run-1")
    old_ref(bench, "refs/branchwork/young/steps/s", days=3)
    old_ref(bench, "refs/branchwork/late/steps/s")

    standings = {"run-1": LONG_AGO, "young": LONG_AGO, "late": YESTERDAY}
    found = await collector(bench, standings).find()
    await remove_all(collector(bench, standings))

    assert [leftover.what for leftover in found] == ["refs/branchwork/run-1 (2)"]
    assert sorted(refs_of(bench.repository)) == [
        "refs/branchwork/late/steps/s",
        "refs/branchwork/young/steps/s",
    ]
    assert "refs/heads/branchwork/run-1" in refs_of(bench.repository, "refs/heads")


async def test_a_run_that_just_began_on_an_old_base_is_not_taken_for_old(bench: Bench) -> None:
    base = old_ref(bench, "refs/heads/old")
    run_git(bench.repository, "update-ref", "refs/branchwork/another/base", base)

    found = await collector(bench, {}).find()
    run_git(bench.repository, "pack-refs", "--all")
    packed = await collector(bench, {}).find()

    assert shown(found) == shown(packed) == [("leave", "refs")]


async def test_refs_that_moved_since_they_were_found_stay(bench: Bench) -> None:
    old_ref(bench, "refs/branchwork/run-1/steps/s")
    collecting = collector(bench, {"run-1": LONG_AGO})
    (found,) = await collecting.find()
    run_git(bench.repository, "update-ref", "refs/branchwork/run-1/steps/s", "HEAD")

    with pytest.raises(Exception, match="meanwhile"):
        await collecting.remove(found)

    assert "refs/branchwork/run-1/steps/s" in refs_of(bench.repository)


async def test_records_and_logs_stay_for_the_retention(bench: Bench) -> None:
    await call(bench.steps.run_step, bench.request("echo out; echo made > made"))
    run_git(bench.repository, "update-ref", "-d", ATTEMPT)
    run_git(bench.repository, "update-ref", "-d", "refs/branchwork/run-1/steps/s")

    young = await collector(bench, {"run-1": LONG_AGO}).find()
    age(bench.state.runs)
    (removal,) = await remove_all(collector(bench, {"run-1": LONG_AGO}))

    assert young == []
    assert (removal.leftover.kind, removal.is_done) == ("records", True)
    assert list(bench.state.runs.glob("*")) == []


async def test_processes_that_outlived_their_run_are_ended(bench: Bench) -> None:
    folder = bench.state.attempt("run-1", "s", 1)
    orphan = subprocess.Popen(
        ["sleep", "300"], env={**os.environ, **marker_of(folder)}, start_new_session=True
    )

    (found,) = await collector(bench, {"run-1": YESTERDAY}).find()
    (removal,) = await remove_all(collector(bench, {"run-1": YESTERDAY}))

    assert (found.doing, found.kind, found.what) == ("end", "processes", str(orphan.pid))
    assert removal.became == "ended 1"
    assert orphan.wait(10) < 0
    assert list(bench.state.runs.glob("*")) == []


def lock_in(bench: Bench, seconds: float) -> Path:
    lock = bench.repository / ".git/refs/branchwork/run-1/steps/s.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    then = datetime.now(UTC).timestamp() - seconds
    os.utime(lock, (then, then))
    return lock


async def test_the_lock_of_a_dead_git_is_removed_also_of_a_run_under_way(bench: Bench) -> None:
    lock = lock_in(bench, seconds=60)

    (removal,) = await remove_all(collector(bench, {"run-1": UNDER_WAY}))

    assert (removal.leftover.kind, removal.leftover.run) == ("lock", "run-1")
    assert not lock.exists()


async def test_a_lock_that_was_just_taken_is_not_named(bench: Bench) -> None:
    lock_in(bench, seconds=0)

    assert await collector(bench, {"run-1": UNDER_WAY}).find() == []


async def test_a_lock_stays_as_long_as_a_git_of_ours_is_at_work(bench: Bench) -> None:
    lock = lock_in(bench, seconds=60)
    with refs_in_work(bench.repository / ".git") as descriptor:
        git = subprocess.Popen(
            ["git", "cat-file", "--batch"],
            cwd=bench.repository,
            stdin=subprocess.PIPE,
            pass_fds=[descriptor],
        )

    (found,) = await collector(bench, {}).find()
    await remove_all(collector(bench, {}))
    at_work = lock.exists()
    git.communicate()
    await remove_all(collector(bench, {}))

    assert (found.doing, found.kind) == ("leave", "lock")
    assert (at_work, lock.exists()) == (True, False)


async def test_an_entry_that_git_made_by_halves_is_removed(bench: Bench) -> None:
    entry = bench.repository / ".git/worktrees/half"
    entry.mkdir(parents=True)
    (entry / "locked").write_text("initializing")
    age(entry)

    (removal,) = await remove_all(collector(bench, {}))

    assert (removal.leftover.kind, removal.is_done) == ("entry", True)
    assert not entry.exists()


async def test_a_half_written_file_goes_when_nobody_works_on_its_step(bench: Bench) -> None:
    bench.interrupted({})
    file = bench.state.attempt("run-1", "s", 1) / ".record.json.partial"
    file.write_text("{")
    young = await collector(bench, {"run-1": UNDER_WAY}).find()
    age(bench.state.runs)

    async with owned(bench.state.attempts("run-1", "s")):
        used = await collector(bench, {"run-1": UNDER_WAY}).find()
    removals = await remove_all(collector(bench, {"run-1": UNDER_WAY}))

    assert young == used == []
    assert [removal.leftover.kind for removal in removals] == ["file"]
    assert not file.exists()


async def test_a_half_written_mark_goes_when_its_writer_is_dead(bench: Bench) -> None:
    bench.state.worker.mkdir(parents=True)
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    files = [bench.state.worker / f".worker.json.{pid}" for pid in (dead.pid, os.getpid())]
    then = datetime.now(UTC).timestamp() - 600
    for path in files:
        path.touch()
        os.utime(path, (then, then))

    await remove_all(collector(bench, {}))

    assert [path.exists() for path in files] == [False, True]


async def test_what_cannot_be_read_is_named_and_left(bench: Bench) -> None:
    request = bench.interrupted({"half": "half\n"})
    (bench.place(request).folder / "record.json").write_text("{}")
    age(bench.state.runs)

    found = await collector(bench, {"run-1": LONG_AGO}).find()

    assert shown(found) == [("leave", "worktree")]
    assert "no record" in found[0].reason


async def test_a_worktree_without_its_repository_is_named_and_left(
    bench: Bench, tmp_path: Path
) -> None:
    bench.interrupted({"half": "half\n"})
    bench.repository.rename(tmp_path / "elsewhere")

    found = await collector(bench, {"run-1": LONG_AGO}).find()

    assert ("leave", "worktree") in shown(found)
    assert "is not there" in found[0].reason


async def test_what_cannot_be_removed_is_told_and_stops_nothing_else(bench: Bench) -> None:
    request = bench.interrupted({"half": "half\n"})
    (entry,) = (bench.repository / ".git/worktrees").iterdir()
    (entry / "index").write_text("no index")
    (bench.state.trash / "old").mkdir(parents=True)

    removals = await remove_all(collector(bench, {"run-1": YESTERDAY}))

    assert [(removal.leftover.kind, removal.is_done) for removal in removals] == [
        ("worktree", False),
        ("trash", True),
    ]
    assert "index" in removals[0].became
    assert (bench.place(request).worktree / "half").exists()


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with commands_in(make_repository(tmp_path / "repository"), tmp_path / "state") as commands:
        yield commands


def test_a_user_lists_what_is_left_over_and_then_removes_it(commands: Commands) -> None:
    plan = commands.plan("plan: p\nsteps: [{id: s, run: echo made > made}]\n")
    commands("run", plan, "--id", "p-1")

    young = commands("gc")
    listed = commands("gc", "--older-than", "1ms")
    still = refs_of(commands.repository)
    removed = commands("gc", "--older-than", "1ms", "--yes")
    again = commands.json("gc", "--older-than", "1ms", "--yes")

    assert (young.returncode, young.stdout) == (0, ""), young.stdout + young.stderr
    assert "nothing is to be removed" in young.stderr
    assert listed.returncode == 0, listed.stderr
    assert "remove  refs       refs/branchwork/p-1 (4)  run p-1" in listed.stdout
    assert "remove  records" in listed.stdout
    assert "2 to be removed" in listed.stderr
    assert len(still) == 4
    assert removed.returncode == 0, removed.stderr
    assert removed.stdout.count("→ removed") == 2
    assert refs_of(commands.repository) == {}
    assert "refs/heads/branchwork/p-1" in refs_of(commands.repository, "refs/heads")
    assert again["leftovers"] == []
    assert again["server"]


def test_without_a_server_a_user_is_told_what_cannot_be_done(commands: Commands) -> None:
    done = commands("gc")
    wrong = commands("gc", "--older-than", "soon")

    assert done.returncode == 1
    assert "nobody tells which runs have ended" in done.stderr
    assert wrong.returncode == 2
    assert "'soon' is not a duration" in wrong.stderr
