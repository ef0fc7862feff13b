"""Commits that a run counts on, and that somebody took away meanwhile."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from activities.git import call_git
from activities.git_faults import GitError
from activities.merges import Side
from branchwork.names import base_ref, step_ref


@contextmanager
def lost_commits_named(
    repository: Path, run: str, base: str, sides: Sequence[Side]
) -> Iterator[None]:
    """An unknown commit is told as what it was to the run, and what became of it.

    Raises BaseGone and ResultGone, not to be retried; and Pruned, to be retried, where all
    of those are there: then a `git gc` took what the block had just made.
    """
    try:
        yield
    except GitError as error:
        if error.name != "UnknownRevision":
            raise
        raise _loss(repository, run, base, sides, error) from error


def _loss(
    repository: Path, run: str, base: str, sides: Sequence[Side], error: GitError
) -> GitError:
    for side in sides:
        if not _holds(repository, side.commit):
            ref = step_ref(run, side.step)
            return _gone(f"what step {side.step!r} made", side.commit, repository, ref)
    if not _holds(repository, base):
        return _gone("the base of the run", base, repository, base_ref(run), "BaseGone")
    return GitError(
        f"a `git gc` took what was just made and on no ref yet: {error.told}",
        "Pruned",
        transient=True,
        advice="it is made again",
    )


def _gone(what: str, commit: str, repository: Path, ref: str, name: str = "ResultGone") -> GitError:
    return GitError(
        f"{what}, {commit[:10]}, is not in {repository} any more: {ref} was deleted, and git"
        " cleaned up",
        name,
        advice="fetch it from a clone that has it, or run the plan anew",
    )


def _holds(repository: Path, commit: str) -> bool:
    answer = call_git(repository, "cat_file", "-e", f"{commit}^{{commit}}", accept=(0, 1, 128))
    return answer.status == 0
