"""`run_step`: one attempt of one step, from its worktree to its ref."""

import asyncio
from collections.abc import Callable, Mapping

from temporalio import activity

from activities.agents.kinds import agent_for
from activities.attempt import Attempt
from activities.blocking import Blocking
from activities.closing import Surroundings
from activities.errors import git_faults_named
from activities.metrics import Metrics
from activities.owning import owned
from activities.pulse import beating
from activities.trash import empty_trash
from activities.workplace import Workplace
from branchwork.contract import RUN_STEP, AttemptEnd, AttemptRequest
from branchwork.names import StateFolder


class StepActivities:
    """For the queue of steps, on a host with a state folder."""

    def __init__(
        self,
        state: StateFolder,
        host: str,
        environ: Mapping[str, str],
        blocking: Blocking,
        metrics: Metrics,
    ) -> None:
        self._state = state
        self._host = host
        self._environ = environ
        self._blocking = blocking
        self._metrics = metrics
        self._emptying: asyncio.Task[None] | None = None
        self._trash_grew = False
        self.on_raised: Callable[[], None] = lambda: None
        """Called when a try has ended without an end: what it left may be nobody's."""

    @activity.defn(name=RUN_STEP)
    async def run_step(self, request: AttemptRequest) -> AttemptEnd:
        """A failed agent is a value. What is raised is the machinery's, for Temporal to retry.

        Safe to run twice: the record tells a second try how far the first one came.
        """
        self._metrics.started()
        try:
            end = await self._run(request)
        except BaseException:
            self._metrics.raised()
            self.on_raised()
            raise
        self._metrics.ended(request, end)
        self.empty_trash()
        return end

    def empty_trash(self) -> None:
        """Delete removed worktrees in the background, one sweep at a time."""
        self._trash_grew = True
        if self._emptying is None or self._emptying.done():
            self._emptying = asyncio.create_task(self._empty_trash())

    async def _empty_trash(self) -> None:
        while self._trash_grew:
            self._trash_grew = False
            await self._blocking(empty_trash, self._state.trash)

    async def _run(self, request: AttemptRequest) -> AttemptEnd:
        info = activity.info()
        place = Workplace(
            request, self._state, host=self._host, workflow_run=info.workflow_run_id or ""
        )
        async with beating(self._host, activity.heartbeat) as heart:
            around = Surroundings(
                agent=agent_for(request.agent, self._environ),
                blocking=self._blocking,
                heart=heart,
                metrics=self._metrics,
                first_scheduled_at=info.scheduled_time,
                cancel_is_wanted=_cancel_is_wanted,
            )
            with git_faults_named(worktree=place.worktree):
                async with owned(self._state.attempts(request.run, request.step.id)):
                    return await Attempt(request, place, around).run()


def _cancel_is_wanted() -> bool:
    """Whether the step shall end.

    Any other cancel (this worker stops, or was taken for lost) ends this turn alone.
    """
    details = activity.cancellation_details()
    return bool(details and details.cancel_requested)
