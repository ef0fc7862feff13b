"""Disks that are full or not to be written to: a run waits, and goes on when that is over."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from disks import DiskHost, fill, needs_mounts, shim, worker_on
from gates import until_failure
from repositories import files_of, make_repository, worktrees_of

pytestmark = needs_mounts


def plan_of(run: str, **fields: Any) -> dict[str, Any]:
    return {"steps": [{"id": "a", "run": run, **fields}]}


@pytest.fixture
async def host(client: Client, tmp_path: Path) -> AsyncIterator[DiskHost]:
    """With 4 MB for its state and 4 MB for `disk`."""
    async with worker_on(client, tmp_path, small=[tmp_path / "state", tmp_path / "disk"]) as host:
        yield host


@pytest.fixture
def place(host: DiskHost, tmp_path: Path) -> Path:
    """A repository on the worker's small disk."""
    place = tmp_path / "disk" / "repository"
    host.put(make_repository(tmp_path / "original", {"README": "start\n"}), place)
    return place


@pytest.mark.parametrize("disk", ["state", "disk"])
async def test_a_disk_that_fills_while_an_agent_works_is_waited_for(
    host: DiskHost, place: Path, tmp_path: Path, disk: str
) -> None:
    filler = tmp_path / disk / "filler"
    once = f"test -e {tmp_path}/ran || {{ touch {tmp_path}/ran; cat /dev/zero > {filler} || :; }}"

    run = await host.start(place, plan_of(f"echo made > made; {once}", creates=["made"]))
    failure = await until_failure(host.client, run, "DiskFull")
    host.seen(filler).unlink()
    report = await host.runs.wait(run)

    copy = host.taken(place, tmp_path / "copy")
    assert "free some space" in failure
    assert report.outcome == "succeeded"
    assert report.steps[0].attempts == 1
    assert files_of(copy, str(report.branch))["made"] == "made"
    assert list(copy.glob(".git/**/*.lock")) == []


async def test_a_checkout_that_a_full_disk_cut_short_is_made_whole_later(
    host: DiskHost, tmp_path: Path
) -> None:
    place = tmp_path / "disk" / "repository"
    host.put(make_repository(tmp_path / "original", {"big": "x" * 2_000_000}), place)
    filler = fill(host.seen(tmp_path / "state"), leaving=1_000_000)

    run = await host.start(place, plan_of("cp big copy", creates=["copy"]))
    failure = await until_failure(host.client, run, "DiskFull")
    filler.unlink()
    report = await host.runs.wait(run)

    copy = host.taken(place, tmp_path / "copy")
    assert "reset" in failure
    assert report.outcome == "succeeded"
    assert len(files_of(copy, str(report.branch))["copy"]) == 2_000_000
    assert worktrees_of(copy) == []


async def test_a_run_that_starts_on_a_full_disk_waits_to_pin_its_base(
    host: DiskHost, place: Path
) -> None:
    filler = fill(host.seen(place.parent))

    run = await host.start(place, plan_of("echo made > made"))
    await until_failure(host.client, run, "DiskFull", "base")
    filler.unlink()

    assert (await host.runs.wait(run)).outcome == "succeeded"


async def test_a_full_disk_holds_up_the_landing_and_loses_no_result(
    client: Client, tmp_path: Path
) -> None:
    disk, state = tmp_path / "disk", tmp_path / "state"
    filler = disk / "filler"
    first = f"touch {tmp_path}/ran; cat /dev/zero > {filler}"
    merging = f'case "$*" in *merge-tree*) test -e {tmp_path}/ran || {{ {first}; }};; esac'
    async with worker_on(
        client, tmp_path, small=[disk, state], environ=shim(tmp_path, merging)
    ) as host:
        host.put(make_repository(tmp_path / "original"), disk / "repository")
        both = [{"id": name, "run": f"echo {name} > {name}"} for name in ("a", "b")]

        run = await host.start(disk / "repository", {"steps": both})
        await until_failure(host.client, run, "DiskFull", "land")
        host.seen(filler).unlink()
        report = await host.runs.wait(run)

        copy = host.taken(disk / "repository", tmp_path / "copy")
        assert report.outcome == "succeeded"
        assert files_of(copy, str(report.branch)).keys() == {"README", "a", "b"}
