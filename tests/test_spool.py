"""What a program leaves on disk, for those who follow it."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from activities.spool import Growing, Launch, Spool

LAUNCH = Launch(started_at=datetime(2026, 1, 2, tzinfo=UTC), log_bytes=7)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path)
    spool.begin(LAUNCH)
    return spool


def test_nothing_is_known_of_a_program_that_was_not_started(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "none")

    assert (spool.launch(), spool.pid(), spool.exit_status()) == (None, None, None)


def test_how_a_program_was_started_is_read_back(spool: Spool) -> None:
    assert spool.launch() == LAUNCH


@pytest.mark.parametrize(
    ("written", "status"), [("", None), ("13", None), ("137\n", 137), ("x\n", None), ("0\n", 0)]
)
def test_an_exit_status_counts_only_once_it_is_whole(
    spool: Spool, written: str, status: int | None
) -> None:
    (spool.folder / "exit").write_text(written)

    assert spool.exit_status() == status


def test_a_new_program_begins_without_the_end_of_the_one_before(spool: Spool) -> None:
    (spool.folder / "pid").write_text("123\n")
    (spool.folder / "exit").write_text("0\n")
    spool.stdout.write_text("old\n")

    spool.begin(LAUNCH)

    assert (spool.pid(), spool.exit_status(), spool.stdout.read_text()) == (None, None, "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives parts of files back")
def test_output_that_was_read_gives_its_disk_back(spool: Spool) -> None:
    size = 8 * 1024 * 1024
    spool.stdout.write_bytes(b"x" * size)
    read: list[int] = []
    growing = Growing(spool.stdout, lambda data: read.append(len(data)), most_bytes=size // 8)

    while growing.read():
        pass
    growing.close()

    assert sum(read) == size
    assert spool.stdout.stat().st_size == size
    assert spool.stdout.stat().st_blocks * 512 <= size // 4


@pytest.mark.skipif(sys.platform != "linux", reason="likewise")
def test_who_follows_later_begins_where_there_still_is_output(spool: Spool) -> None:
    spool.stdout.write_bytes(b"x" * 4 * 1024 * 1024)
    first = Growing(spool.stdout, lambda _: None, most_bytes=1024 * 1024)
    while first.read():
        pass
    first.close()
    with spool.stdout.open("ab") as file:
        file.write(b"the end\n")
    read: list[bytes] = []

    second = Growing(spool.stdout, read.append, most_bytes=1024 * 1024)
    while second.read():
        pass
    second.close()

    assert b"".join(read).strip(b"x\0") == b"the end\n"
    assert len(b"".join(read)) < 2 * 1024 * 1024
