"""What needs no server to be told for junk: half-written files, trash, dead locks, half entries.

Every worker takes it away when it starts; `gc` names it.
"""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from activities.gc_scene import NotCollectedError, changed_at, size_of
from activities.git import folder_lock, git_folder, repository_lock
from activities.git_faults import GitError
from activities.git_locks import no_refs_in_work, old_locks, remove_old_lock
from activities.owning import is_owned, owned_if_free
from activities.records import half_written
from activities.remotes import HALF_CLONE
from activities.trash import delete
from activities.worktrees import half_made_entries, remove_half_made_entries
from branchwork.collecting import Doing, Kind, Leftover
from branchwork.names import ALL_RUNS, StateFolder

HALF_WRITTEN_SECONDS = 60
"""A file is written in milliseconds; its writer's number may be one of another container."""
_SURELY_SECONDS = 3600
"""Also if a process has its writer's number by now."""
_USERS_LOCK_SECONDS = 600

_PARTIAL = re.compile(r"\..+\.(?P<pid>[0-9]+)")


def find_junk(state: StateFolder, repositories: Iterable[Path]) -> list[Leftover]:
    found = [*_half_written(state), *_half_cloned(state), *_trash(state)]
    for repository in repositories:
        # What cannot be read is named where its refs are looked for.
        with suppress(GitError, OSError):
            found.extend([*_locks(repository), *_entries(repository), *_users_lock(repository)])
    return found


def remove_junk(state: StateFolder, leftover: Leftover) -> str:
    """Does nothing if it is gone. Raises NotCollectedError, GitError or OSError if it stays."""
    path, repository = Path(leftover.what), Path(leftover.repository or "")
    if leftover.kind is Kind.ENTRY:
        with repository_lock(repository):
            remove_half_made_entries(repository)
    elif leftover.kind is Kind.LOCK:
        remove_old_lock(git_folder(repository), path)
    elif path.is_relative_to(state.runs):
        _remove_half_written(path)
    elif path.name == HALF_CLONE:
        with folder_lock(path.parent, 1):
            delete(path)
    else:
        delete(path)
    if path.exists():
        raise NotCollectedError(f"{path} could not be deleted; look who holds it")
    return "removed"


def _half_written(state: StateFolder) -> Iterator[Leftover]:
    """In a step's folder only who owns the step writes; elsewhere the name tells who."""
    for step in state.runs.glob("*/*"):
        partial = [path for path in half_written(step) if _age(path) > HALF_WRITTEN_SECONDS]
        for path in partial if partial and not is_owned(step) else ():
            yield _junk(Kind.FILE, path, "nobody finishes writing it")
    for path in (*state.worker.glob(".*"), *state.server.glob(".*")):
        if match := _PARTIAL.fullmatch(path.name):
            is_dead = _age(path) > HALF_WRITTEN_SECONDS and not psutil.pid_exists(int(match["pid"]))
            if is_dead or _age(path) > _SURELY_SECONDS:
                yield _junk(Kind.FILE, path, f"process {match['pid']} did not finish writing it")


def _remove_half_written(path: Path) -> None:
    with owned_if_free(path.parent.parent) as is_free:
        if is_free:
            path.unlink(missing_ok=True)


def _half_cloned(state: StateFolder) -> Iterator[Leftover]:
    """Who makes a clone holds its lock, as does a git that outlives its worker."""
    for path in state.repositories.glob(f"*/{HALF_CLONE}"):
        with suppress(GitError), folder_lock(path.parent, 0):
            yield _junk(Kind.TRASH, path, "a clone that was killed while it was made")


def _trash(state: StateFolder) -> Iterator[Leftover]:
    reason = "it was removed, and only not yet deleted"
    for path in (*state.trash.glob("*"), *state.worktrees.glob("*/.*.removed")):
        yield _junk(Kind.TRASH, path, reason)
    for folder in state.worktrees.glob("*"):
        if folder.is_dir() and not any(folder.iterdir()) and _age(folder) > HALF_WRITTEN_SECONDS:
            yield _junk(Kind.TRASH, folder, "it is empty")


def _locks(repository: Path) -> Iterator[Leftover]:
    folder = git_folder(repository)
    if not (locks := old_locks(folder, ALL_RUNS)):
        return
    with no_refs_in_work(folder) as is_sure:
        doing = Doing.REMOVE if is_sure else Doing.LEAVE
        reason = (
            "its owner is dead" if is_sure else "a git of ours is at work, and may be its owner"
        )
    for lock in locks:
        run = lock.relative_to(folder / ALL_RUNS).parts[0]
        update = {"doing": doing, "repository": str(repository), "run": run}
        yield _junk(Kind.LOCK, lock, reason).model_copy(update=update)


def _users_lock(repository: Path) -> Iterator[Leftover]:
    """Of all refs, the user's too: it may be ours, and nothing tells."""
    path = git_folder(repository) / "packed-refs.lock"
    if path.exists() and _age(path) > _USERS_LOCK_SECONDS:
        reason = "it may be the user's; if no git is at work there, remove it by hand"
        update = {"doing": Doing.LEAVE, "repository": str(repository)}
        yield _junk(Kind.LOCK, path, reason).model_copy(update=update)


def _entries(repository: Path) -> Iterator[Leftover]:
    for entry in half_made_entries(repository):
        junk = _junk(Kind.ENTRY, entry, "a git that was killed did not finish making it")
        yield junk.model_copy(update={"repository": str(repository)})


def _junk(kind: Kind, path: Path, reason: str) -> Leftover:
    return Leftover(
        kind=kind,
        what=str(path),
        doing=Doing.REMOVE,
        reason=reason,
        since=changed_at(path),
        size_bytes=size_of(path),
    )


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0
