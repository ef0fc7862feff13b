"""A run as it looks from outside: what Temporal tells without asking the run itself."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import (
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
)
from temporalio.converter import DataConverter

from branchwork.contract import OUTCOME_MEMO, PLAN_MEMO, REPOSITORY_MEMO, STARTED_MEMO, Pulse
from branchwork.labels import Labels
from branchwork.models import Message
from branchwork.outcomes import Outcome, RunReport

_ATTEMPT = ".run."
"""Stands between step and attempt in the id of an attempt's activity."""


_STARTED = (
    PendingActivityState.PENDING_ACTIVITY_STATE_STARTED,
    PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED,
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED,
)


class Activity(Message):
    """What Temporal knows of an attempt that runs."""

    pulse: Pulse | None = None
    failure: str | None = None
    """What the try before this one failed with, if Temporal is trying again."""
    tries: int = 1
    queue: str = ""
    """Task queue of the workers that may take it."""
    worker: str = ""
    """Identity of the worker that took it last."""
    is_started: bool = True
    """Whether a worker has it."""
    due_at: datetime | None = None
    """When a worker may take it, by the server's clock; None once one has it."""
    sign: str = ""
    """Another one with every sign of life."""


class Loss(StrEnum):
    """What died or never came."""

    SERVER = "server"
    """It does not answer."""
    WORKER = "worker"
    """None answers for the run itself."""
    HOST = "host"
    """The attempts of one host give no sign of life; others go on."""
    TAKER = "taker"
    """No worker serves the queue of a step."""


class Lost(Message):
    """One thing that a run waits for."""

    loss: Loss
    name: str = ""
    """Of the host or step."""
    labels: Labels = ()
    """What a worker must have to take the step."""
    is_back: bool = False
    """A worker of that host is there again, and has not yet taken up what the dead one had."""


class Sight(Message):
    """A run at one moment."""

    report: RunReport
    """The last one seen, while server or worker are lost."""
    activities: Mapping[str, Activity] = {}
    """By step: attempts that run."""
    lost: tuple[Lost, ...] = ()
    """What the run waits for."""
    held_up: str | None = None
    """What the last try to pin the base or to land ended with, while there will be another."""

    def misses(self, *losses: Loss) -> bool:
        return any(lost.loss in losses for lost in self.lost)


class RunLine(Message):
    """One run in a list."""

    run: str
    plan: str
    repository: str | None
    outcome: Outcome | None
    """None while it runs."""
    started_at: datetime
    ended_at: datetime | None


def outcome_of(status: WorkflowExecutionStatus | None, memo: Mapping[str, Any]) -> Outcome | None:
    """How a run ended, by its memo, else by what Temporal did with it; None while it runs."""
    if status is WorkflowExecutionStatus.RUNNING:
        return None
    if OUTCOME_MEMO in memo:
        return Outcome(memo[OUTCOME_MEMO])
    cancelled = status in (WorkflowExecutionStatus.CANCELED, WorkflowExecutionStatus.TERMINATED)
    return Outcome.CANCELLED if cancelled else Outcome.FAILED


def run_line(execution: WorkflowExecution, memo: Mapping[str, Any]) -> RunLine:
    return RunLine(
        run=execution.id,
        plan=memo.get(PLAN_MEMO) or execution.id,
        repository=memo.get(REPOSITORY_MEMO),
        outcome=outcome_of(execution.status, memo),
        started_at=memo.get(STARTED_MEMO) or execution.start_time,
        ended_at=execution.close_time,
    )


def unknown_report(run: str, started_at: datetime) -> RunReport:
    """Of a run of which nothing is known but that it is there."""
    return RunReport(run=run, plan=run.rpartition("-")[0] or run, started_at=started_at)


def broken_report(run: str, description: WorkflowExecutionDescription) -> RunReport:
    """Of one that Temporal ended: terminated, timed out, or given a request nobody can read."""
    status = description.status.name.lower() if description.status else "gone"
    return unknown_report(run, description.start_time).model_copy(
        update={
            "outcome": outcome_of(description.status, {}),
            "ended_at": description.close_time,
            "reason": f"Ended: Temporal says {status}; its UI tells more",
        }
    )


async def activities_of(
    description: WorkflowExecutionDescription, converter: DataConverter
) -> dict[str, Activity]:
    """By step: the attempts that run."""
    return {
        info.activity_id.rpartition(_ATTEMPT)[0]: await _activity(info, converter)
        for info in description.raw_description.pending_activities
        if _ATTEMPT in info.activity_id
    }


async def _activity(info: PendingActivityInfo, converter: DataConverter) -> Activity:
    payloads = info.heartbeat_details.payloads
    pulses = await converter.decode(payloads, [Pulse]) if payloads else []
    is_started = info.state in _STARTED
    return Activity(
        pulse=pulses[0] if pulses else None,
        failure=_failure(info),
        tries=max(1, info.attempt),
        queue=info.activity_options.task_queue.name,
        worker=info.last_worker_identity,
        is_started=is_started,
        due_at=None if is_started else _due_at(info),
        sign=_sign(info),
    )


def held_up(description: WorkflowExecutionDescription) -> str | None:
    """What the run's own activities failed with, if one of them is tried again."""
    pending = description.raw_description.pending_activities
    own = (info for info in pending if _ATTEMPT not in info.activity_id)
    return next(filter(None, map(_failure, own)), None)


def _failure(info: PendingActivityInfo) -> str | None:
    return told_failure(info.last_failure) if info.HasField("last_failure") else None


def told_failure(failure: Failure) -> str:
    """`Name: sentence`, of what an activity raised."""
    # Temporal wraps one that is long in one of its own, which tells nothing of it.
    if failure.HasField("server_failure_info") and failure.HasField("cause"):
        return told_failure(failure.cause)
    name = failure.application_failure_info.type
    return f"{name}: {failure.message}" if name else failure.message


def _due_at(info: PendingActivityInfo) -> datetime:
    again = info.HasField("next_attempt_schedule_time")
    due = info.next_attempt_schedule_time if again else info.scheduled_time
    return due.ToDatetime(UTC)


def _sign(info: PendingActivityInfo) -> str:
    times = (info.last_heartbeat_time, info.last_started_time)
    nanoseconds = (str(time.ToNanoseconds()) for time in times)
    return " ".join((info.activity_id, str(info.attempt), str(info.state), *nanoseconds))
