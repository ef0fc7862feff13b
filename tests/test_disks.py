"""Disks that are full, slow or not to be written to: a run waits, and goes on when that is over."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from temporalio.client import Client

from commands import BRANCHWORK, Commands
from disks import SPACE, DiskHost, fill, needs_mounts, shim, worker_on
from gates import Gate, until_told
from repositories import files_of, make_repository, refs_of, worktrees_of
from workers import processes_of

pytestmark = needs_mounts

REAL_GIT = str(shutil.which("git"))

PHASES = ("worktree add", "reset", "status", "commit-tree", "update-ref", "merge-tree")
"""Calls of git that stand for: worktree, checkout, keeping (twice), publishing, landing."""


class Harm(NamedTuple):
    """What befalls the repository at `{}`."""

    name: str
    """Of the fault that it is."""
    strike: str
    mend: str

    def __str__(self) -> str:
        return self.name


HARMS = (
    Harm("DiskFull", "cat /dev/zero >{}.filler", "rm {}.filler"),
    Harm("RepositoryGone", "mv {0} {0}.aside", "mv {0}.aside {0}"),
    Harm("ReadOnly", "mount --bind -o ro {0} {0}", "umount --lazy {0}"),
)


def plan_of(run: str, **fields: Any) -> dict[str, Any]:
    return {"steps": [{"id": "a", "run": run, **fields}]}


def once_at(call: str, place: Path, what: str) -> str:
    """For a shim: `what`, the first time that git is called so in a run that has begun."""
    done = f"{place.parent.parent}/struck"
    # Two steps call git at once; only one of them makes the folder.
    begun = f"test -d {place}/.git/refs/branchwork && mkdir {done}"
    return f'case "$* " in *" {call} "*) {begun} && {{ {what}; }} ;; esac 2>/dev/null'


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return tmp_path / "disk"


@pytest.fixture
def place(disk: Path) -> Path:
    """Of the repository, on the worker's own disk."""
    return disk / "repository"


@pytest.fixture
async def host(client: Client, tmp_path: Path, disk: Path) -> AsyncIterator[DiskHost]:
    """With 4 MB for its state and 4 MB for the repository."""
    async with worker_on(client, tmp_path, small=[tmp_path / "state", disk]) as host:
        host.put(make_repository(tmp_path / "original", {"README": "start\n"}), disk / "repository")
        yield host


@pytest.mark.parametrize("call", PHASES)
@pytest.mark.parametrize("harm", HARMS, ids=str)
async def test_harm_at_any_phase_is_waited_for_and_no_agent_works_twice(
    client: Client, tmp_path: Path, call: str, harm: Harm
) -> None:
    place = tmp_path / "disk" / "repository"
    environ = shim(tmp_path, once_at(call, place, harm.strike.format(place)))
    async with worker_on(client, tmp_path, small=[place.parent], environ=environ) as host:
        host.put(make_repository(tmp_path / "original"), place)
        ledger = tmp_path / "ledger"
        both = [{"id": x, "run": f"echo {x} >>{ledger}; echo {x} >{x}"} for x in ("a", "b")]

        run = await host.start(place, {"steps": both})
        told = await until_told(client, run, harm.name)
        host.call(*harm.mend.format(place).split())
        report = await host.runs.wait(run)

        copy = host.taken(place, tmp_path / "copy")
        assert report.outcome == "succeeded", told
        assert sorted(ledger.read_text().split()) == ["a", "b"]
        assert files_of(copy, str(report.branch)).keys() == {"README", "a", "b"}
        assert list(copy.glob(".git/**/*.lock")) == []


async def test_a_state_folder_that_an_agent_fills_is_waited_for(
    host: DiskHost, place: Path, tmp_path: Path
) -> None:
    filler = tmp_path / "state" / "filler"

    run = await host.start(place, plan_of(f"echo made > made; cat /dev/zero >{filler} || :"))
    told = await until_told(host.client, run, "DiskFull")
    host.seen(filler).unlink()
    report = await host.runs.wait(run)

    assert "free some space" in told
    assert report.outcome == "succeeded"
    assert report.steps[0].changed == ("made",)


async def test_an_agent_that_fails_on_a_full_disk_works_again_when_there_is_room(
    host: DiskHost, place: Path, tmp_path: Path
) -> None:
    ran, filler = tmp_path / "ran", tmp_path / "state" / "filler"
    first = f"test -e {ran} || {{ touch {ran}; echo half > half; cat /dev/zero >{filler}; }}"

    run = await host.start(place, plan_of(f"{first}; echo made > made", creates=["made"]))
    await until_told(host.client, run, "DiskFull")
    host.seen(filler).unlink()
    report = await host.runs.wait(run)

    copy = host.taken(place, tmp_path / "copy")
    kept = refs_of(copy, f"refs/branchwork/{run}/attempts").values()
    assert report.outcome == "succeeded"
    assert (report.steps[0].attempts, report.steps[0].changed) == (1, ("made",))
    assert any("half" in files_of(copy, commit) for commit in kept)


async def test_an_agent_that_ends_on_a_full_disk_without_a_worker_has_worked_once(
    host: DiskHost, place: Path, tmp_path: Path
) -> None:
    gate, filler = Gate(tmp_path), tmp_path / "state" / "filler"
    agent = f"{gate.waiting}; echo made > made; cat /dev/zero >{filler} || :"
    run = await host.start(place, {**plan_of(agent), "lost_after": "3s"})
    await gate.reached()
    host.kill_worker()
    gate.open()
    while processes_of(run):
        await asyncio.sleep(0.1)

    host.start_worker()
    await until_told(host.client, run, "DiskFull")
    host.seen(filler).unlink()
    report = await host.runs.wait(run)

    assert report.outcome == "succeeded"
    assert report.steps[0].changed == ("made",)
    assert gate.visits == 1


async def test_a_checkout_that_a_full_disk_cut_short_is_made_whole_later(
    host: DiskHost, tmp_path: Path, disk: Path
) -> None:
    place = disk / "large"
    host.put(make_repository(tmp_path / "large", {"big": "x" * 2_000_000}), place)
    filler = fill(host.seen(tmp_path / "state"), leaving=1_000_000)

    run = await host.start(place, plan_of("cp big copy", creates=["copy"]))
    await until_told(host.client, run, "DiskFull: git reset")
    filler.unlink()
    report = await host.runs.wait(run)

    copy = host.taken(place, tmp_path / "copy")
    assert report.outcome == "succeeded"
    assert len(files_of(copy, str(report.branch))["copy"]) == 2_000_000
    assert worktrees_of(copy) == []


async def test_a_run_that_starts_on_a_full_disk_waits_to_pin_its_base(
    host: DiskHost, place: Path
) -> None:
    filler = fill(host.seen(place.parent))

    run = await host.start(place, plan_of("echo made > made"))
    await until_told(host.client, run, "DiskFull", "base")
    filler.unlink()

    assert (await host.runs.wait(run)).outcome == "succeeded"


async def test_a_run_that_starts_on_a_read_only_repository_is_told_at_once(
    host: DiskHost, place: Path
) -> None:
    host.call("mount", "--bind", "-o", "ro", str(place), str(place))

    report = await host.run(place, plan_of("echo made > made"))

    assert str(report.reason).startswith("ReadOnly: ")
    assert "let this user write there" in str(report.reason)


async def test_a_read_only_state_folder_is_waited_for(
    host: DiskHost, place: Path, tmp_path: Path
) -> None:
    state = str(tmp_path / "state")
    host.call("mount", "--bind", "-o", "ro", state, state)

    run = await host.start(place, plan_of("echo made > made"))
    told = await until_told(host.client, run, "ReadOnly")
    host.call("umount", "--lazy", state)

    assert "state" in told
    assert (await host.runs.wait(run)).outcome == "succeeded"


async def test_a_run_that_is_cancelled_on_a_full_disk_ends_and_its_work_is_kept_later(
    host: DiskHost, place: Path, tmp_path: Path, disk: Path
) -> None:
    filler = disk / "filler"
    agent = f"echo made > made; cat /dev/zero 2>&- >{filler} || :; echo full; sleep 300"
    run = await host.start(place, plan_of(agent))
    await until_told(host.client, run, '"line":"full"')

    await host.runs.cancel(run)
    report = await host.runs.wait(run)
    left = processes_of(run)
    host.stop_worker()
    host.seen(filler).unlink()
    host.start_worker()
    worktree = host.state.worktree(run, "a")
    while worktree.exists():
        await asyncio.sleep(0.1)

    copy = host.taken(place, tmp_path / "copy")
    assert report.outcome == "cancelled"
    assert left == []
    assert files_of(copy, refs_of(copy)[f"refs/branchwork/{run}/attempts/a/1"])["made"] == "made"
    assert worktrees_of(copy) == []


async def test_a_slow_disk_stops_no_heartbeat_and_is_told_by_its_phase(
    client: Client, tmp_path: Path, place: Path
) -> None:
    slow = once_at("status", place, "sleep 7")
    async with worker_on(client, tmp_path, environ=shim(tmp_path, slow)) as host:
        host.put(make_repository(tmp_path / "original"), place)
        run = await host.start(place, {**plan_of("echo made > made"), "lost_after": "5s"})
        await until_told(client, run, '"phase":"keeping"')

        report = await host.runs.wait(run)

    history = await client.get_workflow_handle(run).fetch_history()
    timeouts = [
        event
        for event in history.events
        if event.HasField("activity_task_timed_out_event_attributes")
    ]
    assert report.outcome == "succeeded"
    assert timeouts == []


async def test_a_commit_that_a_users_gc_takes_before_it_is_on_a_ref_is_made_again(
    client: Client, tmp_path: Path, place: Path
) -> None:
    pruning = once_at("update-ref", place, f"{REAL_GIT} -C {place} gc --quiet --prune=now")
    async with worker_on(client, tmp_path, environ=shim(tmp_path, pruning)) as host:
        host.put(make_repository(tmp_path / "original"), place)
        ledger = tmp_path / "ledger"
        report = await host.run(place, plan_of(f"echo x >>{ledger}; echo made >made"))

    assert (tmp_path / "struck").is_dir()
    assert report.outcome == "succeeded"
    assert ledger.read_text() == "x\n"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("mount -t tmpfs -o size=64k none {0}; cat /dev/zero 2>&- >{0}/filler", "No space left"),
        ("mount --bind -o ro {0} {0}", "Read-only file system"),
    ],
    ids=["full", "read-only"],
)
def test_a_command_whose_state_folder_takes_nothing_says_so_and_starts_nothing(
    tmp_path: Path, harm: str, said: str
) -> None:
    commands = Commands(make_repository(tmp_path / "repository"), tmp_path / "state")
    plan = commands.plan("plan: p\nsteps: [{id: a, run: echo}]\n")
    state = tmp_path / "state"
    state.mkdir()
    script = f"{harm.format(state)}; exec {BRANCHWORK} run {plan}"

    done = subprocess.run(
        [*SPACE, "sh", "-c", script],
        cwd=commands.repository,
        env=commands.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert f"branchwork: {said}" in done.stderr.replace(" on device", "")
    assert str(state) in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_worktree_that_could_not_be_removed_goes_when_its_repository_is_back(
    client: Client, tmp_path: Path, place: Path
) -> None:
    published = f'git "$@"; mv {place} {place}.aside; exit 0'
    at_publishing = once_at("update-ref", place, published.replace("git", REAL_GIT, 1))
    async with worker_on(client, tmp_path, environ=shim(tmp_path, at_publishing)) as host:
        host.put(make_repository(tmp_path / "original"), place)
        run = await host.start(place, plan_of("echo made > made"))
        await until_told(client, run, "RepositoryGone", "land")
        left = host.state.worktree(run, "a").exists()
        place.with_name("repository.aside").rename(place)
        report = await host.runs.wait(run)
        host.stop_worker()
        host.start_worker()

        assert left
        assert report.outcome == "succeeded"
        assert await host.leftovers(place, run) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_repository_that_is_given_to_another_user_is_waited_for(
    client: Client, tmp_path: Path, place: Path
) -> None:
    gate = Gate(tmp_path)
    async with worker_on(client, tmp_path) as host:
        host.put(make_repository(tmp_path / "original"), place)
        run = await host.start(place, plan_of(f"{gate.waiting}; echo made > made"))
        await gate.reached()
        for path in (place, place / ".git"):
            os.chown(path, 12345, 12345)

        gate.open()
        told = await until_told(client, run, "UntrustedRepository")
        other = await host.run(place, plan_of("echo made > made"))
        for path in (place, place / ".git"):
            os.chown(path, 0, 0)
        report = await host.runs.wait(run)

    assert "give it back" in told
    assert str(other.reason).startswith("UntrustedRepository: ")
    assert "safe.directory" in str(other.reason)
    assert report.outcome == "succeeded"
