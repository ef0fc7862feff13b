"""`run_step`: one attempt of one step, from its worktree to its ref."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from temporalio import activity

from activities.agents.kinds import agent_for
from activities.attempt import Attempt
from activities.blocking import Blocking
from activities.closing import Surroundings
from activities.errors import git_faults_named
from activities.gate import Gate, no_slot
from activities.metrics import Metrics
from activities.owning import owned
from activities.pulse import Beating, beating
from activities.trash import empty_trash
from activities.workplace import Workplace
from branchwork.contract import RUN_STEP, AttemptEnd, AttemptRequest
from branchwork.limits import bounded_end
from branchwork.names import StateFolder, host_queue


class StepActivities:
    """For the queue of steps, on a host with a state folder."""

    def __init__(  # noqa: PLR0913  # what a worker has, handed on
        self,
        state: StateFolder,
        host: str,
        environ: Mapping[str, str],
        blocking: Blocking,
        metrics: Metrics,
        *,
        gate: Gate,
    ) -> None:
        self._state = state
        self._host = host
        self._environ = environ
        self._blocking = blocking
        self._metrics = metrics
        self._gate = gate
        self._emptying: asyncio.Task[None] | None = None
        self._trash_grew = False
        self.on_raised: Callable[[], None] = lambda: None
        """Called when a try has ended without an end: what it left may be nobody's."""

    @activity.defn(name=RUN_STEP)
    async def run_step(self, request: AttemptRequest) -> AttemptEnd:
        """A failed agent is a value. What is raised is the machinery's, for Temporal to retry.

        Safe to run twice: the record tells a second try how far the first one came.
        """
        lost_after = activity.info().heartbeat_timeout
        async with (
            beating(self._host, activity.heartbeat, lost_after) as heart,
            self._slot(heart),
        ):
            self._metrics.started()
            try:
                end = bounded_end(await self._run(request, heart))
            except BaseException:
                self._metrics.raised()
                self.on_raised()
                raise
            self._metrics.ended(request, end)
            self.empty_trash()
            return end

    @asynccontextmanager
    async def _slot(self, heart: Beating) -> AsyncIterator[None]:
        """One of the host's; what it has begun goes on without one where none is free."""
        if self._gate.is_full() and activity.info().task_queue == host_queue(self._host):
            yield
            return
        await self._enter(heart)
        try:
            yield
        finally:
            self._gate.leave()

    async def _enter(self, heart: Beating) -> None:
        phase = heart.pulse.phase
        if self._gate.is_full():
            heart.phase("queued")
        try:
            await self._gate.enter()
        except asyncio.CancelledError:
            if _cancel_is_wanted():
                raise
            raise no_slot("the worker stopped") from None
        heart.phase(phase)

    def empty_trash(self) -> None:
        """Delete removed worktrees in the background, one sweep at a time."""
        self._trash_grew = True
        if self._emptying is None or self._emptying.done():
            self._emptying = asyncio.create_task(self._empty_trash())

    async def _empty_trash(self) -> None:
        while self._trash_grew:
            self._trash_grew = False
            await self._blocking(empty_trash, self._state.trash)

    async def _run(self, request: AttemptRequest, heart: Beating) -> AttemptEnd:
        info = activity.info()
        place = Workplace(
            request, self._state, host=self._host, workflow_run=info.workflow_run_id or ""
        )
        around = Surroundings(
            agent=agent_for(request.agent, self._environ),
            blocking=self._blocking,
            heart=heart,
            metrics=self._metrics,
            first_scheduled_at=info.scheduled_time,
            is_cancelled=activity.is_cancelled,
            cancel_is_wanted=_cancel_is_wanted,
        )
        with git_faults_named(worktree=place.worktree):
            attempts = self._state.attempts(request.run, request.step.id)
            async with owned(attempts, partial(heart.phase, "waiting for the turn before")):
                return await Attempt(request, place, around).run()


def _cancel_is_wanted() -> bool:
    """Whether the step shall end.

    Any other cancel (this worker stops, or was taken for lost) ends this turn alone.
    """
    details = activity.cancellation_details()
    return bool(details and details.cancel_requested)
