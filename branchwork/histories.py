"""What a run's history tells of it: what it was asked, and how its attempts ended.

For runs that can tell it themselves no more: terminated ones, and those whose report was too
large. A run may have gone on in several Temporal runs; each one's history is read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from branchwork.carrying import Carried
from branchwork.contract import BASE_ACTIVITY, AttemptEnd, Base, RunRequest
from branchwork.errors import RefusedError
from branchwork.outcomes import Outcome, RunReport, Status, StepReport
from branchwork.progress import Progress
from branchwork.reuse import Past
from branchwork.sights import broken_report

_ATTEMPT = re.compile(r"(?P<step>.+)\.run\.(?P<attempt>\d+)(\.\d+)?")
"""The id of an attempt's activity."""


@dataclass
class Told:
    """What a history tells of the attempts of a run."""

    base: str | None = None
    carried: Carried | None = None
    """Where the run stood when its last history began, if that was not its first."""
    attempts: dict[str, int] = field(default_factory=dict)
    """By step: the number of the last one that was scheduled."""
    ends: dict[tuple[str, int], AttemptEnd] = field(default_factory=dict)


async def past_of(client: Client, report: RunReport) -> Past:
    """The ended run of `report`, with every output of its steps that is still known."""
    request = await request_of(client, report.run)
    if report.steps and not any(map(_is_lightened, report.steps)):
        return Past(request, report)
    told = {step.step: step for step in _steps(request, await told_by(client, report.run), report)}
    known = {step.step: step for step in report.steps}
    steps = tuple(
        told[step] if told[step].outcome is Outcome.SUCCEEDED else known.get(step, told[step])
        for step in told
    )
    return Past(request, report.model_copy(update={"steps": steps}))


async def request_of(client: Client, run: str) -> RunRequest:
    """What a run was asked. Raises RefusedError if that cannot be read."""
    try:
        first = await anext(client.get_workflow_handle(run).fetch_history_events(page_size=1))
        payloads = first.workflow_execution_started_event_attributes.input.payloads
        found: list[RunRequest] = await client.data_converter.decode(payloads[:1], [RunRequest])
    except (RuntimeError, ValueError, RPCError) as error:
        raise RefusedError(f"what run {run} was asked cannot be read: {error}") from error
    return found[0]


async def rebuilt_report(
    client: Client, description: WorkflowExecutionDescription, known: RunReport | None = None
) -> RunReport:
    """Of a run that cannot tell of its steps, from its history.

    It ended without; or it is under way and no worker is there to ask. `known` is what it told.
    """
    run = description.id
    broken = known or broken_report(run, description)
    try:
        request = await request_of(client, run)
    except RefusedError:
        return broken
    told = await told_by(client, run)
    before = told.carried
    return broken.model_copy(
        update={
            "plan": request.plan.plan,
            "base": before.base if before else told.base,
            "started_at": before.started_at if before else broken.started_at,
            "steps": _steps(request, told, broken),
        }
    )


async def told_by(client: Client, run: str) -> Told:
    """Reads the whole history: 0.1 ms an attempt."""
    told = Told()
    leg = await _read(client, run, None, told)
    while leg:
        try:
            leg = await _read(client, run, leg, told)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            # Temporal keeps what ended for a while only.
            return told
    return told


async def _read(client: Client, run: str, leg: str | None, told: Told) -> str:
    """One of the Temporal runs that a run went through, the last if None; the one before it."""
    before = ""
    scheduled: dict[int, str] = {}
    async for event in client.get_workflow_handle(run, run_id=leg).fetch_history_events():
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                started = event.workflow_execution_started_event_attributes
                before = started.continued_execution_run_id
                told.carried = told.carried or await _carried(client.data_converter, started)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                activity = event.activity_task_scheduled_event_attributes
                scheduled[event.event_id] = activity.activity_id
                _count(activity.activity_id, told)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                completed = event.activity_task_completed_event_attributes
                activity_id = scheduled[completed.scheduled_event_id]
                await _note(client.data_converter, activity_id, completed.result.payloads, told)
    return before


async def _carried(
    converter: DataConverter, started: WorkflowExecutionStartedEventAttributes
) -> Carried | None:
    carried = started.input.payloads[1:2]
    return (await converter.decode(carried, [Carried]))[0] if carried else None


def _count(activity_id: str, told: Told) -> None:
    if found := _ATTEMPT.fullmatch(activity_id):
        step, attempt = found["step"], int(found["attempt"])
        told.attempts[step] = max(attempt, told.attempts.get(step, 0))


async def _note(
    converter: DataConverter, activity_id: str, payloads: Sequence[Payload], told: Told
) -> None:
    """What an activity returned."""
    if activity_id == BASE_ACTIVITY:
        told.base = (await converter.decode(payloads, [Base]))[0].commit
    elif found := _ATTEMPT.fullmatch(activity_id):
        [end] = await converter.decode(payloads, [AttemptEnd])
        told.ends[found["step"], int(found["attempt"])] = end


def _is_lightened(step: StepReport) -> bool:
    """Whether something was left out of a success: otherwise it has no reason."""
    return step.outcome is Outcome.SUCCEEDED and step.reason is not None


def _steps(request: RunRequest, told: Told, report: RunReport) -> tuple[StepReport, ...]:
    """How the steps of a run stand, or stood when it ended as `report` says."""
    progress = Progress(request.plan, request.reuse)
    progress.restore(told.carried.steps if told.carried else ())
    for step, attempt in told.attempts.items():
        progress.move(step, Status.RUNNING, attempts=attempt)
        if end := told.ends.get((step, attempt)):
            progress.begin(step, attempt, end.started_at)
            progress.end(step, end)
    if report.outcome is None:
        return progress.reports
    reason = report.reason or "the run ended"
    ended_at = report.ended_at or report.started_at
    for left in progress.begun():
        progress.end_without_attempt(left.id, Outcome.CANCELLED, reason, ended_at)
    progress.skip_waiting(reason)
    return progress.reports
