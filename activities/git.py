"""Git, as the other modules use it: calls, folders, the lock of a repository, who commits."""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from activities.git_calls import (
    Answer,
    call_git,
    decoded,
    encoded,
    git,
    without_git_variables,
)
from activities.git_faults import GitError
from activities.git_locks import open_folder

__all__ = [
    "Answer",
    "GitError",
    "call_git",
    "decoded",
    "encoded",
    "folder_lock",
    "git",
    "git_folder",
    "identity",
    "line_of",
    "repository_lock",
    "top_folder",
    "without_git_variables",
]

LOCK_SECONDS = 60
EMAIL = "branchwork@localhost"


def top_folder(path: Path) -> Path:
    """The top of the working tree that holds `path`; a bare repository's own folder."""
    answer = call_git(path, "rev_parse", "--is-bare-repository", "--absolute-git-dir")
    bare, folder = answer.text.split("\n", 1)
    if bare == "true":
        return Path(folder)
    return Path(call_git(path, "rev_parse", "--show-toplevel").text)


def git_folder(repository: Path) -> Path:
    """The folder that all worktrees of a repository share, absolute.

    Starts no process where `repository` is the top of a working tree or bare.
    """
    folder = repository.absolute()
    own = _own_folder(folder)
    if own is None:
        answer = call_git(folder, "rev_parse", "--path-format=absolute", "--git-common-dir")
        return Path(answer.text)
    shared = own / "commondir"
    return Path(os.path.normpath(own / line_of(shared))) if shared.exists() else own


def _own_folder(folder: Path) -> Path | None:
    """Read as git's own layout is documented (gitrepository-layout)."""
    link = folder / ".git"
    if link.is_dir():
        return link
    if link.is_file():
        return Path(os.path.normpath(folder / line_of(link).removeprefix("gitdir: ")))
    is_bare = (folder / "HEAD").is_file() and (folder / "objects").is_dir()
    return folder if is_bare and (folder / "refs").is_dir() else None


def line_of(file: Path) -> str:
    """The one line of one of git's small files; empty where there is none."""
    try:
        return decoded(file.read_bytes()).removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError):
        return ""


@contextmanager
def repository_lock(repository: Path, seconds: float = LOCK_SECONDS) -> Iterator[int]:
    """One at a time, of all threads and processes, for git's administrative part.

    As `folder_lock`, on the folder that all worktrees share.
    """
    with folder_lock(git_folder(repository), seconds) as lock:
        yield lock


@contextmanager
def folder_lock(folder: Path, seconds: float = LOCK_SECONDS) -> Iterator[int]:
    """Leaves no file, and dies with its process and the git calls that `locks` was given to.

    Raises Locked, to be retried, if it is not had within `seconds`.
    """
    # An open file of its own, also within one process: so threads exclude each other.
    descriptor = open_folder(folder)
    try:
        _take(descriptor, folder, seconds)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise GitError(
                    f"{folder} was locked for {seconds:g} s by another worker, or by a git that"
                    f" a dead one left; `lsof {folder}` shows it",
                    "Locked",
                    transient=True,
                ) from error
        time.sleep(0.003)


def identity(author: str, when: datetime) -> dict[str, str]:
    """The environment of a commit by `author`, committed by us: same work, same commit id."""
    name = re.sub(r"[<>\x00-\x1f]", "", author).strip(" .,:;\"'\\") or "Branchwork"
    date = f"@{int(when.timestamp())} +0000"
    return {
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": EMAIL,
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_NAME": "Branchwork",
        "GIT_COMMITTER_EMAIL": EMAIL,
        "GIT_COMMITTER_DATE": date,
    }
