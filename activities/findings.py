"""What stands in a worktree that an agent has left, whatever it did there."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from activities.git import Answer, call_git, folder_lock
from activities.git_faults import GitError, fault_of
from activities.git_locks import remove_left_index_lock
from activities.worktrees import find_entry, own_variables
from branchwork.paths import contains, plain

REPOSITORY_MODE = "160000"
"""Git's mode of a repository in a repository."""


class Worktree(NamedTuple):
    path: Path
    entry: Path
    """Git's own folder of it, in the repository."""
    lock: int
    """On `entry`; a git that outlives its worker holds on to it."""

    def git(self, command: str, *arguments: str, text: str = "") -> Answer:
        """Of the repository it belongs to, also if the agent made `.git` another one's."""
        variables = own_variables(self.entry, self.path)
        return call_git(self.path, command, *arguments, text=text, env=variables, locks=[self.lock])


@contextmanager
def left_worktree(repository: Path, path: Path) -> Iterator[Worktree]:
    """The agents are gone: their lock on the index is removed. Raises WorktreeLost, Locked."""
    entry = find_entry(repository, path)
    if entry is None or not path.is_dir():
        raise GitError(
            f"{path} is no worktree of {repository} any more: {_fate(path)}", "WorktreeLost"
        )
    with folder_lock(entry) as lock:
        remove_left_index_lock(entry, path)
        yield Worktree(path, entry, lock)


def _fate(path: Path) -> str:
    if path.is_dir():
        return "that is another repository now, or forgot it; the files are where they were"
    return "someone removed it, and what was not committed with it"


class Found(NamedTuple):
    """What `git status` tells of a worktree."""

    head: str
    """Empty on a branch without a commit."""
    unrecorded: list[str]
    """Paths that stand otherwise than in the index; new ones come last, as git has them: a
    new folder can have taken the place of a file."""
    differing: list[str]
    """Paths that stand otherwise than in HEAD."""
    is_staged: bool
    """Whether the index differs from HEAD; `differing` then says too much where the agent
    took something back."""
    repositories: list[str]
    """Folders that are repositories of their own, and no submodules of HEAD."""


class _Line(NamedTuple):
    """One path of `git status --porcelain=v2`."""

    staged: str
    unrecorded: str
    mode: str
    """In the index."""
    path: str


def look(worktree: Worktree) -> Found:
    """One process."""
    answer = worktree.git(
        "status",
        "--porcelain=v2",
        "--branch",
        "--no-ahead-behind",
        "-z",
        "--no-renames",
        "--untracked-files=all",
        "--ignore-submodules=dirty",
    )
    # Git only warns of a folder it may not read, and takes it for empty.
    if "could not open directory" in answer.complaint:
        raise fault_of(f"reading {worktree.path}", answer.status, answer.complaint)
    return _found(answer.fields)


def _found(fields: Sequence[str]) -> Found:
    head = next(field for field in fields if field.startswith("# branch.oid ")).split(" ")[2]
    lines = [_line(field) for field in fields if not field.startswith("# ")]
    files = [line for line in lines if not line.path.endswith("/")]
    return Found(
        head="" if head == "(initial)" else head,
        unrecorded=[line.path for line in files if line.unrecorded != "."],
        differing=sorted({line.path for line in files}),
        is_staged=any(line.staged != "." for line in lines),
        repositories=[line.path.rstrip("/") for line in lines if _is_repository(line)],
    )


def _line(field: str) -> _Line:
    kind, _, rest = field.partition(" ")
    if kind == "?":
        return _Line(".", "?", "", rest)
    words = rest.split(" ", 9 if kind == "u" else 7)
    state, mode, path = words[0], words[3], words[-1]
    return _Line("U", "U", mode, path) if kind == "u" else _Line(state[0], state[1], mode, path)


def _is_repository(line: _Line) -> bool:
    return line.path.endswith("/") or (line.staged == "A" and line.mode == REPOSITORY_MODE)


def nested_repositories(worktree: Worktree, paths: Iterable[str]) -> list[str]:
    """Those of `paths` that the agent made repositories; submodules that it declared are none."""
    present = sorted(path for path in set(paths) if (worktree.path / path / ".git").exists())
    if not present:
        return []
    declared = call_git(
        worktree.path,
        "config",
        "--file=.gitmodules",
        "--null",
        "--get-regexp",
        r"^submodule\..*\.path$",
        accept=(0, 1),
    )
    submodules = {field.partition("\n")[2] for field in declared.fields}
    return [path for path in present if path not in submodules]


def files_inside(worktree: Worktree, repositories: Iterable[str]) -> Iterator[str]:
    """The files of nested repositories, without those that they ignore. One process for each."""
    for repository in repositories:
        folder = worktree.path / repository
        answer = call_git(folder, "ls_files", "--cached", "--others", "--exclude-standard", "-z")
        for name in sorted(set(answer.fields)):
            path = f"{repository}/{name}".rstrip("/")
            if (worktree.path / path / ".git").exists():
                yield from files_inside(worktree, [path])
            elif _is_file(worktree.path / path):
                yield path


def ignored_files(
    worktree: Worktree, creates: Iterable[str], touched: Sequence[str]
) -> Iterator[str]:
    """The files of those of `creates` in which git sees no change: they may be ignored.

    A folder in which it does see one keeps its ignored files to itself.
    """
    for path in map(plain, creates):
        if not any(contains(path, other) for other in touched):
            yield from _files_at(worktree.path, path)


def _files_at(top: Path, path: str) -> Iterator[str]:
    pure = PurePosixPath(path)
    # What lies behind a symlink is not in this worktree, or is there under its own name.
    if ".git" in pure.parts or any((top / parent).is_symlink() for parent in pure.parents):
        return
    if _is_file(top / path):
        yield path
    for folder, folders, files in os.walk(top / path):
        folders[:] = [name for name in folders if name != ".git"]
        for name in sorted([*files, *folders]):
            if _is_file(Path(folder, name)):
                yield str(Path(folder, name).relative_to(top))


def _is_file(path: Path) -> bool:
    """A file or a symlink, whatever it points at: what git can hold."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def beyond_links(worktree: Worktree, paths: Iterable[str]) -> dict[str, None]:
    """Those of `paths` whose folder has given way to a symlink: nothing stands there any more."""

    @cache
    def is_link(folder: PurePosixPath) -> bool:
        return (worktree.path / folder).is_symlink()

    return {
        path: None for path in paths if any(map(is_link, list(PurePosixPath(path).parents)[:-1]))
    }
