"""Lock files of git: whose they are, and which of them nobody will ever give back.

Git's lock is a file that its owner removes. One that was killed leaves it; an editor that
waits for its user holds it for long. Only our own dead ones' are removed.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from activities.git_faults import GitError, not_there
from activities.owning import taken

STALE_SECONDS = 10
"""A git of ours holds the lock of a ref for milliseconds; on a slow disk for longer."""


def open_folder(folder: Path) -> int:
    """One of git's own, to be locked. Raises NotARepository if it has gone away meanwhile."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise not_there(f"{folder} is not there") from error


@contextmanager
def refs_in_work(git_folder: Path) -> Iterator[int]:
    """Any number at once. The git that gets this lock holds it, even if its worker dies."""
    descriptor = open_folder(git_folder / "refs")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield descriptor
    finally:
        os.close(descriptor)


def remove_dead_locks(git_folder: Path, commits: dict[str, str], ours: str) -> None:
    """Of the refs in `commits`, which a git of ours was to set to these and did not.

    Below `ours` nobody writes but we. Elsewhere a lock is ours if it holds what was to be
    set, or is empty beside one that is: all of `commits` are set by one git, in this order.
    """
    with no_refs_in_work(git_folder) as is_sure:
        if is_sure:
            _remove_dead(git_folder, commits, ours)


@contextmanager
def no_refs_in_work(git_folder: Path) -> Iterator[bool]:
    """Whether no git of ours sets refs, nor will while the block lasts.

    Otherwise it is not to be told whose their locks are.
    """
    # Not made if it is not there: the repository may have been moved away.
    descriptor = open_folder(git_folder / "refs")
    try:
        yield taken(descriptor)
    finally:
        os.close(descriptor)


def old_locks(git_folder: Path, ours: str) -> list[Path]:
    """Of refs below `ours`, which nobody writes but we: dead, once no git of ours is at work."""
    return [lock for lock in sorted((git_folder / ours).glob("**/*.lock")) if _is_old(lock)]


def remove_old_lock(git_folder: Path, lock: Path) -> None:
    """Does nothing if it may be somebody's."""
    with no_refs_in_work(git_folder) as is_sure:
        if is_sure and _is_old(lock):
            lock.unlink(missing_ok=True)


def _remove_dead(git_folder: Path, commits: dict[str, str], ours: str) -> None:
    beside_dead = False
    for ref, commit in commits.items():
        lock = git_folder / f"{ref}.lock"
        if not _is_old(lock):
            continue
        held = lock.read_text().strip()
        if ref.startswith(ours) or held == commit or (beside_dead and not held):
            lock.unlink(missing_ok=True)
            beside_dead = True


def _is_old(lock: Path) -> bool:
    return lock.exists() and time.time() - lock.stat().st_mtime > STALE_SECONDS


def remove_left_index_lock(entry: Path, worktree: Path) -> None:
    """Of a worktree whose agents are gone. Raises Locked while some other git is at work there:
    one that commits holds this lock for as long as its user writes the message.
    """
    lock = entry / "index.lock"
    if lock.exists() and (holder := _git_inside(worktree)):
        raise GitError(
            f"process {holder.pid} is a git at work in {worktree}, which holds {lock}",
            "Locked",
            transient=True,
            advice="let it end, or end it",
        )
    lock.unlink(missing_ok=True)


def _git_inside(worktree: Path) -> psutil.Process | None:
    top = os.path.realpath(worktree)
    for process in psutil.process_iter(["name", "cwd"]):
        cwd = process.info["cwd"] or ""
        if process.info["name"] == "git" and (cwd == top or cwd.startswith(top + os.sep)):
            return process
    return None
