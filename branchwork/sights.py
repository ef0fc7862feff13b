"""A run as it looks from outside: what Temporal tells without asking the run itself."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import (
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
)
from temporalio.converter import DataConverter

from branchwork.contract import OUTCOME_MEMO, PLAN_MEMO, REPOSITORY_MEMO, Pulse
from branchwork.models import Message
from branchwork.outcomes import Outcome, RunReport

_ATTEMPT = ".run."
"""Stands between step and attempt in the id of an attempt's activity."""


class Activity(Message):
    """What Temporal knows of an attempt that runs."""

    pulse: Pulse | None = None
    failure: str | None = None
    """What the try before this one failed with, if Temporal is trying again."""
    tries: int = 1


class Sight(Message):
    """A run at one moment."""

    report: RunReport
    activities: Mapping[str, Activity] = {}
    """By step: attempts that run."""
    worker_silent: bool = False
    """No worker answers; the report is the last one seen."""


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
        started_at=execution.start_time,
        ended_at=execution.close_time,
    )


def unknown_report(run: str, description: WorkflowExecutionDescription) -> RunReport:
    """Of a run of which nothing is known but that it is there."""
    return RunReport(run=run, plan=run.rpartition("-")[0] or run, started_at=description.start_time)


def broken_report(run: str, description: WorkflowExecutionDescription) -> RunReport:
    """Of one that Temporal ended: terminated, timed out, or given a request nobody can read."""
    status = description.status.name.lower() if description.status else "gone"
    return unknown_report(run, description).model_copy(
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
    failure = told_failure(info.last_failure) if info.HasField("last_failure") else None
    return Activity(
        pulse=pulses[0] if pulses else None, failure=failure, tries=max(1, info.attempt)
    )


def told_failure(failure: Failure) -> str:
    """`Name: sentence`, of what an activity raised."""
    # Temporal wraps one that is long in one of its own, which tells nothing of it.
    if failure.HasField("server_failure_info") and failure.HasField("cause"):
        return told_failure(failure.cause)
    name = failure.application_failure_info.type
    return f"{name}: {failure.message}" if name else failure.message
