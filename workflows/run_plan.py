"""`RunPlan`: one run of a plan."""

import asyncio
from collections.abc import Iterable
from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from pydantic import ValidationError

    from branchwork.contract import (
        CANCEL_SIGNAL,
        CANCEL_STEP_UPDATE,
        PAUSE_UPDATE,
        REPORT_QUERY,
        RESUME_UPDATE,
        RUN_PLAN,
        Asked,
        AttemptEnd,
        CancelRequest,
        Landing,
        RunRequest,
        StepCancel,
    )
    from branchwork.outcomes import Outcome, RunReport, Status, StepReport
    from branchwork.plan import OnFailure, Step
    from branchwork.progress import Progress, bounded, verb
    from branchwork.requests import base_request, land_request, refusal
    from branchwork.stops import Stop, cancelled, overdue, refused
    from workflows import calls
    from workflows.attempts import Attempts, raise_if_cancelled
    from workflows.closing import close
    from workflows.policies import MOST_REPORT_BYTES
    from workflows.slots import Slots
    from workflows.step_group import StepGroup


_BASE = ""
"""The name of what resolves the base among the steps' tasks; no step has it."""


@workflow.defn(name=RUN_PLAN, failure_exception_types=[ValidationError])
class RunPlan:
    """Runs every step as soon as what it needs is done, and lands what they made."""

    @workflow.init
    def __init__(self, request: RunRequest) -> None:
        self._request = request
        self._plan = request.plan
        self._run_id = workflow.info().workflow_id
        self._progress = Progress(request.plan)
        self._steps = StepGroup()
        self._slots = Slots(request.plan.max_parallel)
        self._attempts = Attempts(
            self._run_id, request, self._progress, self._slots, self._steps.is_cancelled
        )
        self._started_at = workflow.now()
        self._base: str | None = None
        self._landing: Landing | None = None
        self._stop: Stop | None = None
        self._step_cancels: dict[str, str] = {}
        self._is_landing = False
        self._final: RunReport | None = None

    @workflow.run
    async def run(self, request: RunRequest) -> RunReport:  # noqa: ARG002  # taken by __init__
        deadline = asyncio.create_task(self._watch_deadline())
        try:
            self._steps.start(_BASE, self._prepare())
            await self._steps.join()
            await self._land()
        except asyncio.CancelledError:
            self._stop_run(_cancelled())
            self._stop = self._stop or _cancelled()
        deadline.cancel()
        return await self._close()

    @workflow.query(name=REPORT_QUERY)
    def report(self) -> RunReport:
        return self._final or bounded(self._report(None, None), MOST_REPORT_BYTES)

    @workflow.signal(name=CANCEL_SIGNAL)
    def cancel(self, request: CancelRequest) -> None:
        """Beside Temporal's cancel, which the SDK can lose when a step ends at the same time."""
        self._stop_run(cancelled(request.reason))

    @workflow.update(name=CANCEL_STEP_UPDATE)
    async def cancel_step(self, request: StepCancel) -> StepReport:
        """Returns once the step has ended."""
        self._step_cancels[request.step] = request.reason
        if self._steps.holds(request.step):
            self._steps.cancel(request.step)
        else:
            self._end_without_attempt(request.step)
        await workflow.wait_condition(lambda: self._progress.has_ended(request.step))
        return self._progress[request.step]

    @cancel_step.validator
    def _can_cancel_step(self, request: StepCancel) -> None:
        if request.step not in self._plan.by_id:
            raise ValueError(f"run {self._run_id} has no step {request.step!r}")
        if outcome := self._progress[request.step].outcome:
            raise ValueError(f"step {request.step!r} has ended: it {verb(outcome)}")

    @workflow.update(name=PAUSE_UPDATE)
    def pause(self, _: Asked) -> None:
        """Attempts that run go on; no other starts until `resume`."""
        self._slots.paused = True

    @pause.validator
    def _can_pause(self, _: Asked) -> None:
        if self._stop:
            raise ValueError(f"run {self._run_id} is ending: {self._stop.reason}")

    @workflow.update(name=RESUME_UPDATE)
    def resume(self, _: Asked) -> None:
        self._slots.paused = False

    @resume.validator
    def _can_resume(self, _: Asked) -> None:
        if not self._slots.paused:
            raise ValueError(f"run {self._run_id} is not paused")

    async def _prepare(self) -> None:
        """Pin the base. A request that cannot run ends the run before its first step."""
        if reason := refusal(self._run_id, self._request):
            self._stop_run(refused(reason))
            return
        try:
            base = await calls.resolve_base(base_request(self._run_id, self._request))
        except ActivityError as error:
            # Once a cancel was asked for, Temporal tries nothing again: the cause is the cancel.
            self._notice_cancel()
            raise_if_cancelled(error)
            self._stop_run(Stop(Outcome.FAILED, calls.reason_of(error)))
        else:
            self._base = base.commit
            self._start(self._progress.ready(self._plan.by_id))

    def _start(self, steps: Iterable[Step]) -> None:
        self._notice_cancel()
        for step in steps:
            if not self._stop:
                self._progress.move(step.id, Status.READY)
                self._steps.start(step.id, self._run_step(step))

    def _notice_cancel(self) -> None:
        """The SDK can lose Temporal's cancel when something else happens at the same time."""
        if workflow.cancellation_reason() is not None:
            self._stop_run(_cancelled())

    async def _run_step(self, step: Step) -> None:
        try:
            end = await self._attempts.of(step, self._base or "")
        except asyncio.CancelledError:
            self._end_without_attempt(step.id)
            return
        self._progress.end(step.id, self._as_asked(step.id, end))
        self._after(step.id)

    def _after(self, step: str) -> None:
        """What an end means for the others."""
        self._notice_cancel()
        if self._progress.stops_the_run(step):
            report = self._progress[step]
            reason = f"step {step!r} {verb(report.outcome)}: {report.reason}"
            self._stop_run(Stop(Outcome.FAILED, reason))
        self._start(self._progress.freed_by(step))
        workflow.set_current_details(self._progress.counts())

    def _end_without_attempt(self, step: str) -> None:
        now = workflow.now()
        self._progress.end_without_attempt(step, Outcome.CANCELLED, self._cancel_reason(step), now)
        self._after(step)

    def _as_asked(self, step: str, end: AttemptEnd) -> AttemptEnd:
        """A step that was to end has been cancelled, however its attempt saw that; and why."""
        if end.outcome is Outcome.SUCCEEDED or not self._steps.is_cancelled(step):
            return end
        reason = self._cancel_reason(step)
        return end.model_copy(update={"outcome": Outcome.CANCELLED, "reason": reason})

    def _cancel_reason(self, step: str) -> str:
        if step in self._step_cancels:
            return f"Cancelled: {self._step_cancels[step]}"
        return self._stop.reason_of_steps if self._stop else "Cancelled"

    def _stop_run(self, stop: Stop) -> None:
        """Start nothing more, end what runs. The first reason stays; landing is not broken off."""
        if self._stop or self._is_landing:
            return
        self._stop = stop
        self._progress.skip_waiting(f"the run ended: {stop.reason}")
        self._steps.cancel_all()

    async def _watch_deadline(self) -> None:
        if self._plan.deadline is None:
            return
        await workflow.sleep(self._plan.deadline, summary="deadline of the run")
        self._stop_run(overdue(self._plan.deadline))

    async def _land(self) -> None:
        """Merge what succeeded onto the run's branch, unless the run was stopped."""
        partial = bool(self._progress.missed())
        if (
            self._stop
            or not self._progress.leaves()
            or (partial and self._plan.on_failure is OnFailure.STOP)
        ):
            return
        self._is_landing = True
        leaves = self._progress.leaves()
        request = land_request(self._run_id, self._request, base=self._base or "", leaves=leaves)
        try:
            self._landing = await calls.land_run(request)
        except ActivityError as error:
            raise_if_cancelled(error)
            self._stop = Stop(Outcome.FAILED, calls.reason_of(error))

    async def _close(self) -> RunReport:
        outcome, reason = self._outcome()
        report = self._report(outcome, workflow.now()).model_copy(update={"reason": reason})
        self._final = bounded(report, MOST_REPORT_BYTES)
        return await close(self._final)

    def _outcome(self) -> tuple[Outcome, str | None]:
        if self._stop:
            return self._stop
        if reason := self._progress.failure_reason():
            return Outcome.FAILED, reason
        return Outcome.SUCCEEDED, None

    def _report(self, outcome: Outcome | None, ended_at: datetime | None) -> RunReport:
        live = Status.PAUSED if self._slots.paused else Status.RUNNING
        return RunReport(
            run=self._run_id,
            plan=self._plan.plan,
            outcome=outcome,
            status=None if outcome else live,
            base=self._base,
            result=self._landing.commit if self._landing else None,
            branch=self._landing.branch if self._landing else None,
            started_at=self._started_at,
            ended_at=ended_at,
            steps=self._progress.reports,
        )


def _cancelled() -> Stop:
    return cancelled(workflow.cancellation_reason() or "by request")
