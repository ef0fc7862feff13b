"""Worktrees: made, found, and removed without losing anyone's work.

Git's administrative part is done under the repository's lock, the checkout outside it.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from activities.git import call_git, folder_lock, git_folder, line_of, repository_lock
from activities.git_faults import GitError, disk_faults_named
from activities.trash import delete

HALF_MADE_SECONDS = 10
"""`git worktree add` writes an entry in milliseconds; an older half of one is a dead process's."""


def add_worktree(repository: Path, path: Path, commit: str) -> None:
    """Check `commit` out in a new detached worktree at `path`, outside the repository.

    Does nothing if it is there already, unchanged; what a killed try left half made is
    made anew. Raises WorktreeInUse, not to be retried, if `path` holds anything else: it
    may be someone's unsaved work. Two processes, and what `git worktree add` starts.
    """
    if os.path.lexists(path) and _is_complete(repository, path, commit):
        return
    with disk_faults_named(f"making the worktree {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _nobody_inside(repository, path), repository_lock(repository) as lock:
            _discard_half_made(repository, path)
            _register(repository, path, commit, lock)
        with _nobody_inside(repository, path) as locks:
            call_git(path, *_CHECKOUT, locks=locks)


_CHECKOUT = ("reset", "--hard", "--quiet", "--no-recurse-submodules")


@contextmanager
def _nobody_inside(repository: Path, path: Path) -> Iterator[list[int]]:
    """Waits for a git that a dead worker left at work in the worktree at `path`, if there is one.

    Never taken under the repository's lock: it may last as long as a checkout.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(folder_lock(entry)) for entry in entries_at(repository, path)]


def _is_complete(repository: Path, path: Path, commit: str) -> bool:
    """Whether nothing is left to do. False for what a killed try left, or an empty folder."""
    entry = find_entry(repository, path)
    if entry is None:
        _refuse_strangers(path)
        return False
    # Written last, when all files are there: without it no agent has been at work here.
    if not (entry / "index").exists():
        return False
    answer = call_git(
        path,
        "status",
        "--porcelain=v2",
        "--branch",
        "-z",
        "--untracked-files=normal",
        env=own_variables(entry, path),
    )
    if f"# branch.oid {commit}" in answer.fields and not _changes(answer.fields):
        return True
    raise GitError(
        f"{path} holds a worktree at another commit than {commit[:10]}, or with changes; keep"
        " its work, then remove it",
        "WorktreeInUse",
    )


def _changes(fields: list[str]) -> list[str]:
    return [field for field in fields if not field.startswith("# ")]


def _refuse_strangers(path: Path) -> None:
    """Our name for it does not make it ours. An empty folder holds nothing to lose."""
    if path.is_symlink() or not path.is_dir() or any(path.iterdir()):
        raise GitError(
            f"{path} is in the way and is no worktree of this repository; move it elsewhere",
            "WorktreeInUse",
        )


def _discard_half_made(repository: Path, path: Path) -> None:
    if not os.path.lexists(path):
        return
    entries = entries_at(repository, path)
    delete(_moved_beside(path))
    for entry in entries:
        _forget(entry)


def _register(repository: Path, path: Path, commit: str, lock: int) -> None:
    try:
        _add(repository, path, commit, lock)
    except GitError:
        # One entry that a kill cut short makes every later command on worktrees fail.
        remove_half_made_entries(repository)
        _add(repository, path, commit, lock)


def _add(repository: Path, path: Path, commit: str, lock: int) -> None:
    call_git(
        repository,
        "worktree",
        "add",
        # Twice: also over the locked entry that a killed add left; `path` itself must be free.
        "--force",
        "--force",
        "--quiet",
        "--detach",
        "--no-checkout",
        "--",
        str(path),
        commit,
        seconds=60,
        locks=[lock],
    )


def half_made_entries(repository: Path) -> list[Path]:
    """Git's own folders of worktrees that were killed while they were made, or removed."""
    return [entry for entry in _entries(repository) if _is_half(entry) and _is_old(entry)]


def remove_half_made_entries(repository: Path) -> None:
    """Call it under the repository's lock."""
    for entry in half_made_entries(repository):
        _forget(entry)


def _is_half(entry: Path) -> bool:
    lock = line_of(entry / "locked")
    if lock == "initializing":
        return not all(line_of(entry / name) for name in ("gitdir", "commondir", "HEAD"))
    # Removed first, made early: git itself takes such a one for nothing.
    return not lock and not (entry / "gitdir").exists()


def _is_old(entry: Path) -> bool:
    return time.time() - entry.stat().st_mtime > HALF_MADE_SECONDS


def _entries(repository: Path) -> list[Path]:
    return sorted((git_folder(repository) / "worktrees").glob("*"))


def entries_at(repository: Path, path: Path) -> list[Path]:
    """Git's entries for the worktree at `path` and for those that were made inside it."""
    top = os.path.realpath(path)
    return [
        entry
        for entry in _entries(repository)
        if (place := _place(entry)) and (place == top or place.startswith(top + os.sep))
    ]


def places_below(repository: Path, top: Path) -> list[Path]:
    """Of the worktrees that git has an entry for, whether they are there or not."""
    places = [Path(place) for entry in _entries(repository) if (place := _place(entry))]
    return [place for place in places if place.is_relative_to(os.path.realpath(top))]


def find_entry(repository: Path, path: Path) -> Path | None:
    """Git's entry for the worktree at `path`, even if its `.git` file is gone. No process."""
    # A second look: the first one may have been while the repository was moved away.
    return _entry_of(repository, path) or _entry_of(repository, path)


def _entry_of(repository: Path, path: Path) -> Path | None:
    top = os.path.realpath(path)
    return next((entry for entry in _entries(repository) if _place(entry) == top), None)


def _place(entry: Path) -> str | None:
    """The folder of the entry's worktree; None if the entry is not whole."""
    link = line_of(entry / "gitdir")
    return os.path.normpath(entry / link).removesuffix("/.git") if link else None


def own_variables(entry: Path, path: Path) -> dict[str, str]:
    """For calls that must not be led astray by what an agent did to `.git` in its worktree."""
    return {"GIT_DIR": str(entry), "GIT_WORK_TREE": str(path)}


def remove_worktree(repository: Path, path: Path, trash: Path) -> None:
    """Take the worktree away, with all that is in it: keep its work first.

    It is renamed into `trash`, to be deleted by `empty_trash`; of git's entries only its
    own goes, and those of worktrees inside it. Does nothing where nothing is left. Raises
    WorktreeInUse if `path` is no worktree of this repository. No process.
    """
    with disk_faults_named(f"removing the worktree {path}"):
        with _nobody_inside(repository, path), repository_lock(repository):
            entries = entries_at(repository, path)
            if os.path.lexists(path):
                if find_entry(repository, path) is None:
                    _refuse_strangers(path)
                _move_away(path, trash)
            # With what a kill in this very place left of other ones.
            for entry in [*entries, *half_made_entries(repository)]:
                _forget(entry)
        delete(_beside(path))


def _move_away(path: Path, trash: Path) -> None:
    try:
        trash.mkdir(parents=True, exist_ok=True)
        path.rename(trash / f"{path.parent.name}-{path.name}-{secrets.token_hex(8)}")
    except OSError:
        # Another file system, say, or no room for the trash. A rename is one step there too.
        _moved_beside(path)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.removed")


def _moved_beside(path: Path) -> Path:
    delete(_beside(path))
    path.rename(_beside(path))
    return _beside(path)


def _forget(entry: Path) -> None:
    """Without its `gitdir` git does not see the entry any more; so that goes first."""
    (entry / "gitdir").unlink(missing_ok=True)
    delete(entry)
    # As git does with the last one.
    with suppress(OSError):
        entry.parent.rmdir()
