"""What happens once a run: its base is pinned, its results are landed."""

from pathlib import Path

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.blocking import Blocking
from activities.errors import git_faults_named
from activities.git_faults import GitError
from activities.landing import land
from activities.merges import Side
from activities.pulse import alive
from activities.repositories import Repository, publish_everywhere, repository_of
from activities.revisions import (
    RefChange,
    RefTaken,
    leaving_symlinks,
    missing_commits,
    missing_paths,
)
from branchwork.contract import (
    LAND_RUN,
    RESOLVE_BASE,
    Base,
    BaseRequest,
    Landing,
    LandRequest,
)
from branchwork.names import StateFolder, base_ref, step_ref


class RunActivities:
    """For the queue of runs: short, and never an agent."""

    def __init__(self, state: StateFolder, blocking: Blocking) -> None:
        self._state = state
        self._blocking = blocking

    @activity.defn(name=RESOLVE_BASE)
    async def resolve_base(self, request: BaseRequest) -> Base:
        """Pin the base by a ref. Twice is once: the ref then is there already.

        Raises, not to be retried, what makes the plan impossible on this base.
        """
        async with alive(activity.heartbeat):
            with git_faults_named(under_way=False):
                return await self._blocking(_pin_base, request, self._state)

    @activity.defn(name=LAND_RUN)
    async def land_run(self, request: LandRequest) -> Landing:
        """Merge the leaves onto the run's branch. Twice is once: the merge is the same commit.

        Raises `Conflict`, not to be retried, naming the files and the steps.
        """
        async with alive(activity.heartbeat):
            with git_faults_named():
                return await self._blocking(_land, request, self._state)


def _pin_base(request: BaseRequest, state: StateFolder) -> Base:
    repository = repository_of(request.repository, state)
    commit = repository.resolve(request.run, request.revision)
    _refuse_missing(repository.folder, commit, request.requires)
    _refuse_symlinks(repository.folder, commit, request.creates)
    try:
        publish_everywhere(repository, [RefChange(base_ref(request.run), commit)])
    except RefTaken as taken:
        # Another try was quicker, and the branch moved in between: the next one finds its pin.
        raise GitError(str(taken), taken.name, transient=True) from taken
    _take_over(repository, request)
    return Base(commit=commit)


def _take_over(repository: Repository, request: BaseRequest) -> None:
    """Publish results of other runs as the run's own: theirs may be forgotten."""
    run = request.run
    wanted = {step_ref(run, reused.step): reused.commit for reused in request.reuse}
    repository.bring(run, wanted)
    gone = missing_commits(repository.folder, list(wanted.values()))
    there = {ref: commit for ref, commit in wanted.items() if commit not in gone}
    publish_everywhere(repository, [RefChange(ref, commit) for ref, commit in there.items()])
    if lost := [reused.step for reused in request.reuse if reused.commit in gone]:
        raise ApplicationError(
            f"{request.repository} no longer holds the results of"
            f" {', '.join(map(repr, lost))} that were to be taken over; let them run again:"
            f" `branchwork retry {run} {' '.join(lost)}`",
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


def _land(request: LandRequest, state: StateFolder) -> Landing:
    repository = repository_of(request.repository, state)
    run = request.run
    wanted = {step_ref(run, leaf.step): leaf.commit for leaf in request.leaves}
    repository.bring(run, {base_ref(run): request.base, **wanted})
    sides = [Side(leaf.step, leaf.commit) for leaf in request.leaves]
    landed = land(repository, run, request.base, sides)
    return Landing(commit=landed.commit, branch=landed.branch)
