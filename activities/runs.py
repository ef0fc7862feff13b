"""What happens once a run: its base is pinned, its results are landed."""

from collections.abc import Sequence
from pathlib import Path

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.blocking import Blocking
from activities.errors import git_faults_named
from activities.landing import land
from activities.merges import Side
from activities.pulse import alive
from activities.revisions import (
    RefChange,
    leaving_symlinks,
    missing_commits,
    missing_paths,
    publish_ref,
    publish_refs,
    read_refs,
    resolve_commit,
)
from branchwork.contract import (
    LAND_RUN,
    RESOLVE_BASE,
    Base,
    BaseRequest,
    Landing,
    LandRequest,
    Need,
)
from branchwork.names import base_ref, step_ref


class RunActivities:
    """For the queue of runs: short, and never an agent."""

    def __init__(self, blocking: Blocking) -> None:
        self._blocking = blocking

    @activity.defn(name=RESOLVE_BASE)
    async def resolve_base(self, request: BaseRequest) -> Base:
        """Pin the base by a ref. Twice is once: the ref then is there already.

        Raises, not to be retried, what makes the plan impossible on this base.
        """
        async with alive(activity.heartbeat):
            with git_faults_named(under_way=False):
                return await self._blocking(_pin_base, request)

    @activity.defn(name=LAND_RUN)
    async def land_run(self, request: LandRequest) -> Landing:
        """Merge the leaves onto the run's branch. Twice is once: the merge is the same commit.

        Raises `Conflict`, not to be retried, naming the files and the steps.
        """
        async with alive(activity.heartbeat):
            with git_faults_named():
                return await self._blocking(_land, request)


def _pin_base(request: BaseRequest) -> Base:
    repository = Path(request.repository)
    pin = base_ref(request.run)
    # The branch may have moved since a first try pinned it.
    pinned = read_refs(repository, [pin]).get(pin)
    commit = pinned or resolve_commit(repository, request.revision)
    _refuse_missing(repository, commit, request.requires)
    _refuse_symlinks(repository, commit, request.creates)
    publish_ref(repository, pin, commit, None)
    _take_over(repository, request.run, request.reuse)
    return Base(commit=commit)


def _take_over(repository: Path, run: str, reuse: Sequence[Need]) -> None:
    """Publish results of other runs as the run's own: theirs may be forgotten."""
    gone = missing_commits(repository, [reused.commit for reused in reuse])
    there = [reused for reused in reuse if reused.commit not in gone]
    changes = [RefChange(step_ref(run, reused.step), reused.commit) for reused in there]
    publish_refs(repository, changes)
    if lost := [reused.step for reused in reuse if reused.commit in gone]:
        raise ApplicationError(
            f"{repository} no longer holds the results of {', '.join(map(repr, lost))} that were"
            f" to be taken over; let them run again: `branchwork retry {run} {' '.join(lost)}`",
            type="ResultGone",
            non_retryable=True,
        )


def _refuse_missing(repository: Path, commit: str, requires: tuple[tuple[str, str], ...]) -> None:
    missing = missing_paths(repository, commit, [path for _, path in requires])
    for step, path in requires:
        if path in missing:
            raise ApplicationError(
                f"step {step!r} requires {path!r}, which no step creates and the base"
                f" {commit[:10]} does not hold; commit it, or let a step create it",
                type="MissingRequired",
                non_retryable=True,
            )


def _refuse_symlinks(repository: Path, commit: str, creates: tuple[str, ...]) -> None:
    for path in leaving_symlinks(repository, commit, creates):
        raise ApplicationError(
            f"{path!r} leads out of the repository through a symbolic link of the base"
            f" {commit[:10]}; let the step create a path inside",
            type="LeavesRepository",
            non_retryable=True,
        )


def _land(request: LandRequest) -> Landing:
    sides = [Side(leaf.step, leaf.commit) for leaf in request.leaves]
    landed = land(Path(request.repository), request.run, request.base, sides)
    return Landing(commit=landed.commit, branch=landed.branch)
