"""An agent's work becomes a commit, and is judged by what that commit holds."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from activities.findings import (
    REPOSITORY_MODE,
    Found,
    Worktree,
    beyond_links,
    files_inside,
    ignored_files,
    left_worktree,
    look,
    nested_repositories,
)
from activities.git import call_git, encoded, identity
from activities.revisions import is_ancestor, things_at
from branchwork.paths import contains, plain

MOST_PATHS = 200
"""Paths of `Kept.changed`; it travels through the run's history."""


class Kept(NamedTuple):
    """The commit that holds a worktree's work."""

    commit: str
    """Contains the base; it is the base where nothing changed."""
    changed: tuple[str, ...] = ()
    """Paths that differ from the base, sorted; a last `… and 12 more` where there are many."""
    left: tuple[str, ...] = ()
    """Commits of the agent that `commit` does not contain, because they do not contain the base."""
    nested: tuple[str, ...] = ()
    """Repositories that the agent made inside: their files are kept, their history is not."""


def keep_work(  # noqa: PLR0913  # all but the first three by name
    repository: Path,
    worktree: Path,
    base: str,
    *,
    message: str,
    author: str,
    when: datetime,
    creates: Sequence[str] = (),
) -> Kept:
    """Commit all that is in `worktree`, and those of `creates` that are ignored.

    On top of the agent's own commits if they contain `base`, else one commit on `base`.
    Sets no ref, runs no hook, moves no branch. The same work at the same `when` gives the
    same commit. Raises WorktreeLost, UnreadableFile. One process if nothing changed, four
    for changed files, about ten if the agent used git itself.
    """
    with left_worktree(repository, worktree) as work:
        found = look(work)
        parent = _parent(repository, base, found.head)
        committed = differences(repository, base, found.head)
        nested = nested_repositories(work, [*found.repositories, *_repositories(committed)])
        extra = _extra(work, creates, nested, [*found.differing, *_paths(committed)])
        tree = _tree(work, found, extra, parent)
    is_plain = found.head == base and not found.is_staged and not extra
    commit = parent
    if tree and (is_plain or tree != _tree_of(repository, parent)):
        commit = _commit(repository, tree, parent, message, identity(author, when))
    changed = found.differing if is_plain else _paths(differences(repository, base, commit))
    left = _left(repository, base, found.head, parent)
    return Kept(commit, _bounded(changed), left, tuple(nested))


def _parent(repository: Path, base: str, head: str) -> str:
    """What the work is committed on: the agent's HEAD if that contains the base."""
    contains_base = head == base or (head and is_ancestor(repository, base, head))
    return head if contains_base else base


def _left(repository: Path, base: str, head: str, parent: str) -> tuple[str, ...]:
    is_contained = head in ("", parent) or is_ancestor(repository, head, base)
    return () if is_contained else (head,)


def _extra(
    work: Worktree, creates: Sequence[str], nested: Sequence[str], touched: Sequence[str]
) -> list[str]:
    """Files that `git status` does not name and that are to be kept all the same."""
    inside = list(files_inside(work, nested))
    return [*inside, *ignored_files(work, creates, [*touched, *inside])]


def _tree(work: Worktree, found: Found, extra: Sequence[str], parent: str) -> str | None:
    """The tree of all files; None if that is `parent`'s for sure."""
    paths = [*found.unrecorded, *extra]
    if not paths and not found.is_staged and found.head == parent:
        return None
    gone = beyond_links(work, paths)
    if gone:
        # Not with the others: git refuses paths that only a link would lead to.
        work.git("update_index", "--force-remove", "-z", "--stdin", text=_listed(gone))
    if rest := [path for path in paths if path not in gone]:
        # Not `git add`: it takes patterns, refuses ignored files and looks at every file again.
        options = ("--add", "--remove", "--replace", "-z", "--stdin")
        work.git("update_index", *options, text=_listed(rest))
    return work.git("write_tree").text


def _listed(paths: Iterable[str]) -> str:
    return "".join(f"{path}\0" for path in paths)


def _tree_of(repository: Path, commit: str) -> str:
    return call_git(repository, "rev_parse", "--verify", f"{commit}^{{tree}}").text


def _commit(
    repository: Path, tree: str, parent: str, message: str, variables: Mapping[str, str]
) -> str:
    answer = call_git(repository, "commit_tree", tree, "-p", parent, text=message, env=variables)
    return answer.text


class Difference(NamedTuple):
    """One path that two commits hold differently."""

    mode: str
    """In the second one; zeros if it is not there."""
    path: str


def differences(
    repository: Path, one: str, other: str, paths: Sequence[str] = ()
) -> list[Difference]:
    """What differs, of `paths` if there are any. One process; none for equal commits."""
    if other in ("", one):
        return []
    answer = call_git(
        repository,
        "diff_tree",
        "-r",
        "-z",
        "--raw",
        "--no-renames",
        one,
        other,
        "--",
        *paths,
        env={"GIT_LITERAL_PATHSPECS": "1"},
    )
    states, names = answer.fields[::2], answer.fields[1::2]
    return [
        Difference(state.split(" ")[1], name) for state, name in zip(states, names, strict=True)
    ]


def _repositories(found: Sequence[Difference]) -> list[str]:
    return [difference.path for difference in found if difference.mode == REPOSITORY_MODE]


def _paths(found: Sequence[Difference]) -> list[str]:
    return sorted(difference.path for difference in found)


def _bounded(paths: Sequence[str]) -> tuple[str, ...]:
    shown = tuple(encoded(path).decode(errors="backslashreplace") for path in paths[:MOST_PATHS])
    more = len(paths) - MOST_PATHS
    return (*shown, f"… and {more} more") if more > 0 else shown


class PathVerdict(NamedTuple):
    """Of the paths that a step shall create, those that do not count, in the given order."""

    missing: tuple[str, ...]
    """Not there, or through a symlink that leaves the repository, or no folder as demanded."""
    unchanged: tuple[str, ...]
    """There, and as the base has them; a folder: all that is in it."""


def judge_paths(repository: Path, base: str, commit: str, creates: Sequence[str]) -> PathVerdict:
    """Whether `commit` holds `creates`, and otherwise than `base` does.

    All paths at once: one process, two if there is one that may be unchanged.
    """
    places = [(side, path) for side in (commit, base) for path in creates]
    things = things_at(repository, places)
    now = dict(zip(creates, things, strict=False))
    before = dict(zip(creates, things[len(creates) :], strict=True))
    missing = tuple(path for path in creates if not now[path].satisfies(path))
    same = [path for path in creates if path not in missing and now[path] == before[path]]
    # A file can also differ in being executable, which its content does not tell.
    modes = _paths(differences(repository, base, commit, [*map(plain, same)])) if same else []
    return PathVerdict(missing, tuple(path for path in same if not _within(path, modes)))


def _within(path: str, others: Collection[str]) -> bool:
    return any(contains(plain(path), other) for other in others)
