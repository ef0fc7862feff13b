"""Merges in git's object store: no checkout, and nobody's index, HEAD or files are touched."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from activities.git import call_git, identity
from activities.git_faults import GitError, fault_of

_FAULT = re.compile("^(error|fatal): ", re.MULTILINE)


class Side(NamedTuple):
    """What one step brings to a merge."""

    step: str
    commit: str


class MergeConflict(GitError):  # noqa: N818  # what git calls it
    """Sides changed the same lines, or one removed what another changed."""

    def __init__(self, files: Sequence[str], steps: Sequence[str]) -> None:
        super().__init__(
            f"{_steps(steps)} changed {_listed(files)} in ways git cannot merge;"
            " let one of them need the other",
            "Conflict",
        )
        self.files = tuple(files)
        self.steps = tuple(steps)


def _steps(steps: Sequence[str]) -> str:
    quoted = [f"{step!r}" for step in steps]
    listed = f"{', '.join(quoted[:-1])} and {quoted[-1]}"
    return f"steps {listed} {'both' if len(steps) == 2 else 'all'}"  # noqa: PLR2004  # "both"


def _listed(files: Sequence[str], most: int = 10) -> str:
    more = f" and {len(files) - most} more" if len(files) > most else ""
    return ", ".join(files[:most]) + more


def merge_sides(repository: Path, base: str, sides: Sequence[Side], message: str) -> str:
    """The commit that holds what all `sides` hold; `base` if there are none.

    One commit whose parents are the sides, in their order; the side itself if it is the
    only one or contains the others. Equal sides give the equal commit, so it may be done
    twice. Raises MergeConflict. No process for up to one commit, then 2n for n of them.
    """
    heads = _heads(repository, sides)
    if len(heads) < 2:  # noqa: PLR2004  # nothing to merge
        return heads[0].commit if heads else base
    when = _newest_date(repository, heads)
    merged, tree = heads[0].commit, ""
    for count, side in enumerate(heads[1:], start=1):
        if tree:
            # Never on a ref: it is there for git to find what it has in common with the next.
            merged = _commit(repository, tree, heads[:count], message, when)
        outcome = _merge(repository, merged, side.commit)
        if outcome.files:
            raise MergeConflict(outcome.files, _culprits(repository, heads[:count], side))
        tree = outcome.tree
    return _commit(repository, tree, heads, message, when)


def _heads(repository: Path, sides: Sequence[Side]) -> list[Side]:
    """`sides` without those that others contain, in their order."""
    first: dict[str, Side] = {}
    for side in sides:
        first.setdefault(side.commit, side)
    if len(first) < 2:  # noqa: PLR2004  # nothing to compare
        return list(first.values())
    answer = call_git(repository, "merge_base", "--independent", *first)
    independent = answer.text.split()
    return [side for commit, side in first.items() if commit in independent]


def _newest_date(repository: Path, sides: Sequence[Side]) -> datetime:
    commits = [side.commit for side in sides]
    answer = call_git(repository, "log", "--no-walk", "--format=%ct", *commits, "--")
    return datetime.fromtimestamp(max(map(int, answer.text.split())), UTC)


class _Merged(NamedTuple):
    tree: str
    files: tuple[str, ...]
    """In conflict; none for a clean merge."""


def _merge(repository: Path, one: str, other: str) -> _Merged:
    answer = call_git(
        repository,
        "merge_tree",
        "--write-tree",
        "-z",
        "--name-only",
        "--no-messages",
        one,
        other,
        accept=(0, 1),
    )
    # Of a repository that lacks objects it makes what it can, and calls that a merge.
    if not answer.fields or _FAULT.search(answer.complaint):
        raise fault_of(f"git merge_tree in {repository}", answer.status, answer.complaint)
    tree, *files = answer.fields
    return _Merged(tree, tuple(sorted(set(files))) if answer.status else ())


def _culprits(repository: Path, merged: Sequence[Side], side: Side) -> list[str]:
    """The steps that conflict with `side`, and its own.

    All of those merged before it where it gets along with each of them alone.
    """
    alone = [other for other in merged if _merge(repository, other.commit, side.commit).files]
    return [other.step for other in alone or merged] + [side.step]


def _commit(
    repository: Path, tree: str, parents: Sequence[Side], message: str, when: datetime
) -> str:
    options = [word for parent in parents for word in ("-p", parent.commit)]
    env = identity("Branchwork", when)
    return call_git(repository, "commit_tree", tree, *options, text=message, env=env).text
