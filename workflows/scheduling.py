"""The steps of one run: when each starts, and what its end means for the others."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from branchwork.carrying import Carried, bounded_carried
    from branchwork.contract import AttemptEnd, RunRequest
    from branchwork.outcomes import Outcome, Status
    from branchwork.plan import Step
    from branchwork.progress import Progress, verb
    from branchwork.stops import Stop, cancelled
    from workflows.attempts import Attempts
    from workflows.carrying import must_go_over, should_go_over
    from workflows.policies import MOST_CARRIED_BYTES, PATIENCE_EVENTS
    from workflows.slots import Slots
    from workflows.step_group import StepGroup
    from workflows.totals import Totals

_BASE = ""
"""The name of what pins the base among the steps' tasks; no step has it."""


class Scheduler:
    """Starts every step as soon as what it needs is done, until the run is stopped."""

    def __init__(self, run: str, request: RunRequest, carried: Carried | None) -> None:
        self.progress = Progress(request.plan, request.reuse)
        self.slots = Slots(request.plan.max_parallel, self._is_held_back)
        self.started_at = workflow.now()
        self.base: str | None = None
        self.stopped: Stop | None = None
        self._plan = request.plan
        self._tasks = StepGroup()
        self._totals = Totals(self.end_step)
        self._attempts = Attempts(
            run,
            request,
            self.progress,
            slots=self.slots,
            totals=self._totals,
            is_cancelled=self._tasks.is_cancelled,
        )
        self._step_stops: dict[str, Stop] = {}
        self._is_closed = False
        self._is_leaving = False
        self._stays_until = 0
        if carried:
            self._restore(carried)

    async def run(self, prepare: Callable[[], Coroutine[None, None, None]]) -> Carried | None:
        """Returns when every step that was started has ended; `prepare` starts the first.

        Returns before that, with where it stands, to go on in another history.
        """
        if self.base is None:
            self._tasks.start(_BASE, prepare())
        else:
            self._go_on()
        while not await self._tasks.join(until=self._can_go_over):
            if carried := self._carried():
                self._is_leaving = True
                await self._tasks.drop()
                return carried
        return None

    def _go_on(self) -> None:
        """With the steps that had begun when the history before this one ended."""
        for step in self.progress.begun():
            self._tasks.start(step.id, self._run_step(step))
        if self.stopped:
            self._tasks.cancel_all()

    def _restore(self, carried: Carried) -> None:
        self.base = carried.base
        self.started_at = carried.started_at
        self.slots.paused = carried.paused
        self.progress.restore(carried.steps)
        self._attempts.due.update(carried.due)
        self._totals.ends.update(carried.totals)
        self._attempts.lost = carried.lost

    def close(self) -> None:
        """Every step has ended: what comes now is not broken off by a stop."""
        self._is_closed = True

    def start_from(self, base: str) -> None:
        """The run's base is pinned: whoever needs nothing starts."""
        self.base = base
        self._start(self.progress.ready(self._plan.by_id))

    def stop(self, stop: Stop) -> None:
        """Start nothing more, end what runs. The first reason stays."""
        if self.stopped or self._is_closed:
            return
        self.stopped = stop
        self.progress.skip_waiting(f"the run ended: {stop.reason}")
        self._tasks.cancel_all()

    def end_step(self, step: str, stop: Stop) -> None:
        """End one step, wherever it stands; the others go on. What ended it first is the reason."""
        if not self._tasks.is_cancelled(step):
            self._step_stops[step] = stop
        if self._tasks.holds(step):
            self._tasks.cancel(step)
        else:
            self._end_without_attempt(step)

    def notice_cancel(self) -> None:
        """The SDK can lose Temporal's cancel when something else happens at the same time."""
        if workflow.cancellation_reason() is not None:
            self.stop(cancelled_through_temporal())

    def _can_go_over(self) -> bool:
        """Whether the history is long, and nothing would be lost that is under way."""
        length = workflow.info().get_current_history_length()
        return (
            should_go_over()
            # In this very workflow task the last attempt ended: a cancel that came along was seen.
            and (length == self.slots.last_emptied_at or must_go_over())
            and length >= self._stays_until
            and not (self.slots.taken or self._tasks.holds(_BASE) or self.stopped)
            and workflow.cancellation_reason() is None
            and workflow.all_handlers_finished()
        )

    def _is_held_back(self) -> bool:
        return must_go_over() or self._can_go_over()

    def _carried(self) -> Carried | None:
        """None if outputs that steps wait for would be lost, and it can be tried again later."""
        carried = bounded_carried(
            Carried(
                base=self.base or "",
                started_at=self.started_at,
                paused=self.slots.paused,
                steps=self.progress.moved(),
                due=self._attempts.due,
                totals=self._totals.ends,
                lost=self._attempts.lost,
            ),
            self.progress.needed(),
            MOST_CARRIED_BYTES,
        )
        if len(carried.lost) > len(self._attempts.lost) and not must_go_over():
            self._stays_until = workflow.info().get_current_history_length() + PATIENCE_EVENTS
            return None
        return carried

    def _start(self, steps: Iterable[Step]) -> None:
        self.notice_cancel()
        for step in steps:
            if not self.stopped:
                self.progress.move(step.id, Status.READY)
                self._tasks.start(step.id, self._run_step(step))

    async def _run_step(self, step: Step) -> None:
        try:
            end = await self._attempts.of(step, self.base or "")
        except asyncio.CancelledError:
            if not self._is_leaving:
                self._end_without_attempt(step.id)
            return
        self.progress.end(step.id, self._as_asked(step.id, end))
        self._after(step.id)

    def _after(self, step: str) -> None:
        """What an end means for the others."""
        self.notice_cancel()
        if self.progress.stops_the_run(step):
            report = self.progress[step]
            reason = f"step {step!r} {verb(report.outcome)}: {report.reason}"
            self.stop(Stop(Outcome.FAILED, reason))
        self._start(self.progress.freed_by(step))
        workflow.set_current_details(self.progress.counts())

    def _end_without_attempt(self, step: str) -> None:
        self.progress.end_without_attempt(step, *self._stop_of(step), workflow.now())
        self._after(step)

    def _as_asked(self, step: str, end: AttemptEnd) -> AttemptEnd:
        """A step that was to end has ended as that, however its attempt saw it; and why."""
        if end.outcome is Outcome.SUCCEEDED or not self._tasks.is_cancelled(step):
            return end
        return end.model_copy(update=self._stop_of(step)._asdict())

    def _stop_of(self, step: str) -> Stop:
        if step in self._step_stops:
            return self._step_stops[step]
        return self.stopped.of_steps if self.stopped else Stop(Outcome.CANCELLED, "Cancelled")


def cancelled_through_temporal() -> Stop:
    return cancelled(workflow.cancellation_reason() or "by request")
