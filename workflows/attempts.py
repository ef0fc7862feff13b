"""The attempts of one step: a slot, an activity, a verdict, a wait, and again."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import count

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from branchwork.backoff import back_off
    from branchwork.contract import AttemptEnd, AttemptRequest, RunRequest
    from branchwork.limits import unsendable
    from branchwork.outcomes import Outcome, Status
    from branchwork.plan import Step
    from branchwork.progress import Progress
    from branchwork.requests import attempt_request
    from workflows import calls
    from workflows.outbox import Outbox
    from workflows.slots import Slots
    from workflows.totals import Totals
    from workflows.turns import HostLostError, Turns


class Attempts:
    """How the steps of one run are tried, and tried again."""

    def __init__(  # noqa: PLR0913  # what a run has, handed on
        self,
        run: str,
        request: RunRequest,
        progress: Progress,
        *,
        slots: Slots,
        totals: Totals,
        is_cancelled: Callable[[str], bool],
    ) -> None:
        self._run = run
        self._request = request
        self._progress = progress
        self._slots = slots
        self._totals = totals
        self._is_cancelled = is_cancelled
        self._outbox = Outbox()
        self.due: dict[str, datetime] = {}
        """By step between two attempts: when the next may start."""
        self.lost: tuple[str, ...] = ()
        """Steps whose outputs were too large to be carried into this history."""

    async def of(self, step: Step, base: str) -> AttemptEnd:
        """How the last attempt ended. A cancel is raised once the attempt has ended.

        Goes on after the attempts that the step's report tells of.
        """
        self._totals.go_on(step)
        try:
            await self._wait_until_due(step)
            return await self._until_last(step, base)
        finally:
            self._totals.stop(step.id)

    async def _until_last(self, step: Step, base: str) -> AttemptEnd:
        for attempt in count(self._progress[step.id].attempts + 1):
            end = await self._one(step, base, attempt)
            # An attempt may fail of its own while it is being cancelled.
            if self._is_cancelled(step.id) or not _again(step, attempt, end):
                return end
            await self._back_off(step, attempt, end)
        raise AssertionError  # count() has no end

    async def _one(self, step: Step, base: str, attempt: int) -> AttemptEnd:
        async with self._slots.one():
            now = workflow.now()
            self._progress.begin(step.id, attempt, now)
            self._totals.start(step)
            request = self._attempt_request(step, base, attempt)
            if wrong := unsendable(request, self.lost):
                return _failed(wrong)
            try:
                return await self._turns(request).end()
            except HostLostError as error:
                return _failed(str(error))
            except ActivityError as error:
                if self._is_cancelled(step.id):
                    # Its worker died or stopped meanwhile; the step was to end, and has.
                    raise asyncio.CancelledError from error
                raise_if_cancelled(error)
                return _failed(calls.reason_of(error))

    def _turns(self, request: AttemptRequest) -> Turns:
        tell = partial(self._tell, request.step.id)
        lost_after = self._request.plan.lost_after
        return Turns(request, lost_after, tell, self._is_cancelled, self._outbox)

    def _tell(self, step: str, what: str) -> None:
        """Why nothing moves, for whoever looks at the run."""
        self._progress.move(step, Status.RUNNING, reason=what)

    def _attempt_request(self, step: Step, base: str, attempt: int) -> AttemptRequest:
        needs = self._progress.needs_of(step.id)
        return attempt_request(
            self._run, self._request, step, attempt=attempt, base=base, needs=needs
        )

    async def _back_off(self, step: Step, attempt: int, end: AttemptEnd) -> None:
        """Wait, on a durable timer and without a slot, for the next attempt."""
        delay = back_off(step.retry, attempt, workflow.random().random())
        self._progress.back_off(step.id, end)
        self.due[step.id] = workflow.now() + delay
        await self._wait_until_due(step)

    async def _wait_until_due(self, step: Step) -> None:
        if due := self.due.get(step.id):
            summary = f"{step.id} · back-off · after attempt {self._progress[step.id].attempts}"
            try:
                await workflow.sleep(max(due - workflow.now(), timedelta()), summary=summary)
            finally:
                del self.due[step.id]
            self._progress.move(step.id, Status.READY, reason=None)


def _failed(reason: str) -> AttemptEnd:
    """Of an attempt that told no end itself."""
    now = workflow.now()
    return AttemptEnd(
        outcome=Outcome.FAILED, reason=reason, again=False, started_at=now, ended_at=now
    )


def _again(step: Step, attempt: int, end: AttemptEnd) -> bool:
    bad = end.outcome in (Outcome.FAILED, Outcome.TIMED_OUT)
    return bad and end.again and attempt < step.retry.attempts


def raise_if_cancelled(error: ActivityError) -> None:
    """A cancelled activity cancels who waits for it; otherwise the run would go on for ever."""
    if is_cancelled_exception(error):
        raise asyncio.CancelledError from error
