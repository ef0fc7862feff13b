"""What stands on this host of steps: worktrees, and processes wherever their agents went."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from activities.agents.base import MARKER, PROMPT_FILE
from activities.git_faults import GitError
from activities.records import last_record
from activities.sweeping import marked_below
from activities.workplace import recorded
from activities.worktrees import places_below
from branchwork.names import StateFolder

StepKey = tuple[str, str]
"""A run, and a step of it."""


class Left(NamedTuple):
    """Of one step."""

    run: str
    step: str
    has_worktree: bool
    """Or only git's entry of one, after the folder was removed."""
    processes: Mapping[int, list[psutil.Process]]
    """By attempt."""


def what_is_there(state: StateFolder, repositories: Iterable[Path] = ()) -> list[Left]:
    """Of every step that has any, sorted; used or not.

    Worktrees whose folder is gone are found in `repositories` alone.
    """
    worktrees = {*_worktree_folders(state), *_worktree_entries(state, repositories)}
    processes = _processes(state)
    return [
        Left(run, step, (run, step) in worktrees, processes.get((run, step), {}))
        for run, step in sorted({*worktrees, *processes})
    ]


def repositories_of(state: StateFolder) -> list[Path]:
    """Those that are there, of the runs that left records here, and clones."""
    named = {repository for run in state.runs.glob("*") if (repository := _repository(run, state))}
    clones = state.repositories.glob("*/clone.git")
    return sorted(path for path in {*named, *clones} if path.is_dir())


def _repository(run: Path, state: StateFolder) -> Path | None:
    """All steps of a run have the same."""
    for step in sorted(run.glob("*")):
        with suppress(OSError):
            if record := last_record(step):
                return recorded(record, state).repository
    return None


def _worktree_folders(state: StateFolder) -> set[StepKey]:
    return {(path.parent.name, path.name) for path in state.worktrees.glob("[!.]*/[!.]*")}


def _worktree_entries(state: StateFolder, repositories: Iterable[Path]) -> set[StepKey]:
    top = state.worktrees.resolve()
    found = (
        place.relative_to(top).parts
        for repository in repositories
        for place in _places(repository, top)
    )
    return {(parts[0], parts[1]) for parts in found if len(parts) > 1}


def _places(repository: Path, top: Path) -> list[Path]:
    with suppress(GitError, OSError):
        return places_below(repository, top)
    return []


def _processes(state: StateFolder) -> dict[StepKey, dict[int, list[psutil.Process]]]:
    found: dict[StepKey, dict[int, list[psutil.Process]]] = {}
    for marker, processes in marked_below(MARKER, state.runs).items():
        match Path(marker).relative_to(state.runs).parts:
            case (run, step, attempt, name) if attempt.isdecimal() and name == PROMPT_FILE:
                found.setdefault((run, step), {})[int(attempt)] = processes
    return found
