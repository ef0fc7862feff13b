"""Start runs and look at them, over a Temporal client and nothing else.

client = Branchwork(await Client.connect(..., data_converter=pydantic_data_converter))
run = await client.start(RunRequest(plan=plan, repository="/srv/shop"))
report = await client.wait(run)
"""

from datetime import timedelta
from typing import Any

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from branchwork.contract import (
    CANCEL_SIGNAL,
    CANCEL_STEP_UPDATE,
    PAUSE_UPDATE,
    REPORT_MEMO,
    REPORT_QUERY,
    REPOSITORY_MEMO,
    REQUEST_MEMO,
    RESUME_UPDATE,
    RUN_PLAN,
    Asked,
    CancelRequest,
    RunRequest,
    StepCancel,
)
from branchwork.errors import NoSuchRunError, RefusedError, UnderWayError, WorkerSilentError
from branchwork.histories import past_of, rebuilt_report
from branchwork.limits import MOST_DETAILS_BYTES, shortened, too_large
from branchwork.models import Message
from branchwork.names import RUN_QUEUE, bad_run_id, new_run_id
from branchwork.outcomes import RunReport, StepReport
from branchwork.requests import digest, memo_of
from branchwork.reuse import Past
from branchwork.sights import RunLine, run_line

_RUNS = f"WorkflowType = '{RUN_PLAN}' AND ExecutionStatus != 'ContinuedAsNew'"
"""One execution a run: those that went on in another one are left out."""

_QUERY_SECONDS = 4


class Branchwork:
    """The runs of one Temporal namespace."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def client(self) -> Client:
        return self._client

    async def start(self, request: RunRequest, run: str | None = None) -> str:
        """The run's id. Starting twice with one id finds the run that is under way.

        Raises RefusedError for a bad id, one whose run has ended, and a request
        that Temporal would not carry.
        """
        run = run or new_run_id(request.plan.plan)
        if wrong := bad_run_id(run) or too_large(request):
            raise RefusedError(wrong)
        try:
            await self._start(request, run)
        except WorkflowAlreadyStartedError as error:
            raise RefusedError(f"run {run} has ended; choose another id") from error
        await self._require_request(request, run)
        return run

    async def _require_request(self, request: RunRequest, run: str) -> None:
        """The run of that id that was found must be one of the same request."""
        memo = await (await self.describe(run)).memo()
        if memo.get(REQUEST_MEMO, digest(request)) != digest(request):
            raise RefusedError(
                f"run {run} is under way with another plan, base or parameters;"
                f" choose another id, or `branchwork watch {run}`"
            )

    async def _start(self, request: RunRequest, run: str) -> None:
        plan = request.plan
        await self._client.start_workflow(
            RUN_PLAN,
            request,
            id=run,
            task_queue=RUN_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            static_summary=f"{plan.plan} · {len(plan.steps)} steps",
            static_details=shortened(plan.description, MOST_DETAILS_BYTES),
            memo=memo_of(request),
        )

    async def report(
        self, run: str, description: WorkflowExecutionDescription | None = None
    ) -> RunReport:
        """How the run stands or ended; `description` is what `describe` told a moment ago.

        Raises NoSuchRunError; WorkerSilentError for one under way when no worker answers.
        """
        return await self._report(run, description or await self.describe(run))

    async def repository(self, run: str) -> str | None:
        """Path or URL of the run's repository."""
        memo = await (await self.describe(run)).memo()
        return memo.get(REPOSITORY_MEMO)

    async def wait(self, run: str) -> RunReport:
        """The final report."""
        await self.describe(run)
        try:
            report: RunReport = await self._client.get_workflow_handle(
                run, result_type=RunReport
            ).result()
        except WorkflowFailureError:
            return await self.report(run)
        return report

    async def past(self, run: str) -> Past:
        """A run that ended, for another to go on from. Raises RefusedError for one under way."""
        if await self._running(run):
            raise UnderWayError(run)
        return await past_of(self._client, await self.report(run))

    async def is_over(self, run: str) -> bool:
        """Whether the run has ended. False for one that this server does not know."""
        try:
            return await self._running(run) is None
        except NoSuchRunError:
            return False

    async def cancel(self, run: str, reason: str = "cancelled by request") -> None:
        """Ask the run to end. Does nothing to one that has ended."""
        handle = await self._running(run)
        if handle is None:
            return
        try:
            # Temporal's cancel can be lost when a step ends in the same moment; the signal is not.
            await handle.cancel(reason=reason)
            await handle.signal(CANCEL_SIGNAL, CancelRequest(reason=reason))
        except RPCError as error:
            # It ended meanwhile.
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def cancel_step(self, run: str, step: str) -> StepReport:
        """End one step; returns when it has ended. Raises RefusedError if it has already."""
        report: StepReport = await self._update(
            run, CANCEL_STEP_UPDATE, StepCancel(step=step), StepReport
        )
        return report

    async def ask_cancel_step(self, run: str, step: str, ask: str) -> None:
        """As `cancel_step`, but does not wait for the step's end; `ask` is the same if repeated.

        Raises TimeoutError, at the latest when it is cancelled, if no worker answers.
        """
        try:
            await self._client.get_workflow_handle(run).start_update(
                CANCEL_STEP_UPDATE,
                StepCancel(step=step),
                id=ask,
                wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                result_type=StepReport,
            )
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise TimeoutError from error

    async def pause(self, run: str) -> None:
        """Start no new attempts."""
        await self._update(run, PAUSE_UPDATE, Asked(), None)

    async def resume(self, run: str) -> None:
        await self._update(run, RESUME_UPDATE, Asked(), None)

    async def runs(self, most: int) -> list[RunLine]:
        """The newest first."""
        newest = self._client.list_workflows(_RUNS, limit=most)
        return [run_line(execution, await execution.memo()) async for execution in newest]

    async def _update(self, run: str, update: str, argument: Message, result: Any) -> Any:
        while handle := await self._running(run):
            try:
                return await handle.execute_update(update, argument, result_type=result)
            except WorkflowUpdateFailedError as error:
                raise RefusedError(str(error.cause)) from error
            except RPCError as error:
                # It ended meanwhile, or goes on in another history: Temporal does not hand it on.
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
        raise RefusedError(f"run {run} has ended")

    async def _running(self, run: str) -> WorkflowHandle[Any, Any] | None:
        description = await self.describe(run)
        if description.status is not WorkflowExecutionStatus.RUNNING:
            return None
        return self._client.get_workflow_handle(run)

    async def describe(self, run: str) -> WorkflowExecutionDescription:
        try:
            description = await self._client.get_workflow_handle(run).describe()
        except RPCError as error:
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                raise NoSuchRunError(f"there is no run {run!r}; see `branchwork list`") from error
            raise
        if description.workflow_type != RUN_PLAN:
            raise NoSuchRunError(f"{run!r} is a {description.workflow_type}, not a run")
        return description

    async def _report(self, run: str, description: WorkflowExecutionDescription) -> RunReport:
        handle = self._client.get_workflow_handle(run, result_type=RunReport)
        match description.status:
            case WorkflowExecutionStatus.RUNNING:
                return await self._ask(run)
            case WorkflowExecutionStatus.COMPLETED:
                result: RunReport = await handle.result()
                return result
        memo = await description.memo()
        told = RunReport.model_validate(memo[REPORT_MEMO]) if REPORT_MEMO in memo else None
        # The report of many steps does not fit in a memo.
        return (
            told if told and told.steps else await rebuilt_report(self._client, description, told)
        )

    async def _ask(self, run: str) -> RunReport:
        handle = self._client.get_workflow_handle(run)
        try:
            report: RunReport = await handle.query(
                REPORT_QUERY,
                result_type=RunReport,
                rpc_timeout=timedelta(seconds=_QUERY_SECONDS),
            )
        except (RPCError, WorkflowQueryFailedError) as error:
            if isinstance(error, RPCError) and error.status is RPCStatusCode.UNAVAILABLE:
                # Of the server itself nothing is heard.
                raise
            raise WorkerSilentError(f"no worker answers for run {run}: {error}") from error
        return report
