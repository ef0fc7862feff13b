"""Where a run's work ends up: one branch in the user's repository, or in the remote."""

from collections.abc import Sequence
from typing import NamedTuple

from activities.git_faults import GitError
from activities.merges import Side, merge_sides
from activities.repositories import Repository
from activities.results import lost_commits_named
from activities.revisions import RefChange
from branchwork.names import result_ref, run_branch


class Landed(NamedTuple):
    commit: str
    branch: str


def land(repository: Repository, run: str, base: str, sides: Sequence[Side]) -> Landed:
    """Merge `sides` and put the run's branch and result ref there, both or none.

    No checkout, no force. Does nothing if they stand there already. Raises
    MergeConflict; BranchTaken if the branch holds something else. One process beside
    those of the merge.
    """
    with lost_commits_named(repository.folder, run, base, sides):
        return _land(repository, run, base, sides)


def _land(repository: Repository, run: str, base: str, sides: Sequence[Side]) -> Landed:
    steps = ", ".join(side.step for side in sides)
    commit = merge_sides(repository.folder, base, sides, f"branchwork: {run}\n\nSteps: {steps}\n")
    branch = run_branch(run)
    # In this order: a lock that a killed git left on the branch is then known by the ref's.
    changes = [RefChange(result_ref(run), commit), RefChange(f"refs/heads/{branch}", commit)]
    try:
        repository.stores[-1].publish(changes)
    except GitError as error:
        if error.name != "RefTaken":
            raise
        raise _branch_taken(repository, run, commit, error) from error
    return Landed(commit, branch)


def _branch_taken(repository: Repository, run: str, commit: str, error: GitError) -> GitError:
    where, remedy = "", f"take the work with `git branch NAME {commit[:10]}`"
    if repository.url:
        # The merge is on this host alone.
        where = f" at {repository.url}"
        remedy = f"`branchwork retry {run}` lands it under another name"
    return GitError(
        f"the run's work is {commit}, but branch {run_branch(run)!r} cannot be made for it{where}:"
        f" {error}; rename what is in the way (`git branch -m OLD NEW`), or {remedy}",
        "BranchTaken",
    )
