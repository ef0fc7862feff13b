"""`RunPlan`: one run of a plan."""

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from pydantic import ValidationError

    from branchwork.bounds import bounded
    from branchwork.carrying import Carried
    from branchwork.contract import (
        CANCEL_SIGNAL,
        CANCEL_STEP_UPDATE,
        PAUSE_UPDATE,
        REPORT_QUERY,
        RESUME_UPDATE,
        RUN_PLAN,
        Asked,
        CancelRequest,
        Landing,
        RunRequest,
        StepCancel,
    )
    from branchwork.limits import shortened
    from branchwork.outcomes import Outcome, RunReport, Status, StepReport
    from branchwork.plan import OnFailure
    from branchwork.progress import verb
    from branchwork.requests import base_request, land_request, refusal
    from branchwork.stops import Stop, cancelled, overdue, refused
    from workflows import calls
    from workflows.attempts import raise_if_cancelled
    from workflows.carrying import go_over
    from workflows.closing import close
    from workflows.policies import MOST_REPORT_BYTES
    from workflows.scheduling import Scheduler, cancelled_through_temporal


@workflow.defn(name=RUN_PLAN, failure_exception_types=[ValidationError])
class RunPlan:
    """Runs every step as soon as what it needs is done, and lands what they made."""

    @workflow.init
    def __init__(self, request: RunRequest, carried: Carried | None = None) -> None:
        self._unreadable: ValidationError | None = None
        try:
            # Given one argument for two, the SDK leaves it as plain JSON.
            self._request = RunRequest.model_validate(request)
        except ValidationError as error:
            # For `run` to raise: raised here, it would leave a coroutine behind.
            self._unreadable = error
            return
        self._plan = self._request.plan
        self._run_id = workflow.info().workflow_id
        self._steps = Scheduler(self._run_id, self._request, carried)
        self._progress = self._steps.progress
        self._landing: Landing | None = None
        self._final: RunReport | None = None

    @workflow.run
    async def run(self, _: RunRequest, _carried: Carried | None = None) -> RunReport:
        """The second argument is of a run whose history was continued in a new one."""
        if self._unreadable:
            raise self._unreadable
        deadline = asyncio.create_task(self._watch_deadline())
        try:
            if carried := await self._steps.run(self._prepare):
                deadline.cancel()
                go_over(self._request, carried)
            await self._land()
        except asyncio.CancelledError:
            self._steps.stop(cancelled_through_temporal())
            self._steps.stopped = self._steps.stopped or cancelled_through_temporal()
        deadline.cancel()
        return await self._close()

    @workflow.query(name=REPORT_QUERY)
    def report(self) -> RunReport:
        return self._final or bounded(self._report(None, None), MOST_REPORT_BYTES)

    @workflow.signal(name=CANCEL_SIGNAL)
    def cancel(self, request: CancelRequest) -> None:
        """Beside Temporal's cancel, which the SDK can lose when a step ends at the same time."""
        self._steps.stop(cancelled(request.reason))

    @workflow.update(name=CANCEL_STEP_UPDATE)
    async def cancel_step(self, request: StepCancel) -> StepReport:
        """Returns once the step has ended."""
        self._steps.end_step(request.step, cancelled(request.reason))
        await workflow.wait_condition(lambda: self._progress.has_ended(request.step))
        return self._progress[request.step]

    @cancel_step.validator
    def _can_cancel_step(self, request: StepCancel) -> None:
        if request.step not in self._plan.by_id:
            raise ValueError(f"run {self._run_id} has no step {shortened(request.step, 200)!r}")
        if outcome := self._progress[request.step].outcome:
            raise ValueError(f"step {request.step!r} has ended: it {verb(outcome)}")

    @workflow.update(name=PAUSE_UPDATE)
    def pause(self, _: Asked) -> None:
        """Attempts that run go on; no other starts until `resume`."""
        self._steps.slots.paused = True

    @pause.validator
    def _can_pause(self, _: Asked) -> None:
        if stop := self._steps.stopped:
            raise ValueError(f"run {self._run_id} is ending: {stop.reason}")

    @workflow.update(name=RESUME_UPDATE)
    def resume(self, _: Asked) -> None:
        self._steps.slots.paused = False

    @resume.validator
    def _can_resume(self, _: Asked) -> None:
        if not self._steps.slots.paused:
            raise ValueError(f"run {self._run_id} is not paused")

    async def _prepare(self) -> None:
        """Pin the base. A request that cannot run ends the run before its first step."""
        if reason := refusal(self._run_id, self._request):
            self._steps.stop(refused(reason))
            return
        try:
            base = await calls.resolve_base(
                base_request(self._run_id, self._request), self._plan.lost_after
            )
        except ActivityError as error:
            # Once a cancel was asked for, Temporal tries nothing again: the cause is the cancel.
            self._steps.notice_cancel()
            raise_if_cancelled(error)
            self._steps.stop(Stop(Outcome.FAILED, calls.reason_of(error)))
        else:
            self._steps.start_from(base.commit)

    async def _watch_deadline(self) -> None:
        if self._plan.deadline is None:
            return
        left = self._steps.started_at + self._plan.deadline - workflow.now()
        await workflow.sleep(max(left, timedelta()), summary="deadline of the run")
        self._steps.stop(overdue(self._plan.deadline))

    async def _land(self) -> None:
        """Merge what succeeded onto the run's branch, unless the run was stopped."""
        leaves = self._progress.leaves()
        partial = bool(self._progress.missed())
        if (
            self._steps.stopped
            or not leaves
            or (partial and self._plan.on_failure is OnFailure.STOP)
        ):
            return
        self._steps.close()
        base = self._steps.base or ""
        try:
            request = land_request(self._run_id, self._request, base=base, leaves=leaves)
            self._landing = await calls.land_run(request, self._plan.lost_after)
        except ActivityError as error:
            raise_if_cancelled(error)
            self._steps.stopped = Stop(Outcome.FAILED, calls.reason_of(error))

    async def _close(self) -> RunReport:
        outcome, reason = self._outcome()
        report = self._report(outcome, workflow.now()).model_copy(update={"reason": reason})
        self._final = bounded(report, MOST_REPORT_BYTES)
        return await close(self._final)

    def _outcome(self) -> tuple[Outcome, str | None]:
        if self._steps.stopped:
            return self._steps.stopped
        if reason := self._progress.failure_reason():
            return Outcome.FAILED, reason
        return Outcome.SUCCEEDED, None

    def _report(self, outcome: Outcome | None, ended_at: datetime | None) -> RunReport:
        live = Status.PAUSED if self._steps.slots.paused else Status.RUNNING
        return RunReport(
            run=self._run_id,
            plan=self._plan.plan,
            outcome=outcome,
            status=None if outcome else live,
            base=self._steps.base,
            result=self._landing.commit if self._landing else None,
            branch=self._landing.branch if self._landing else None,
            started_at=self._steps.started_at,
            ended_at=ended_at,
            steps=self._progress.reports,
        )
