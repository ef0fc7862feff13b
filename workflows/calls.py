"""The activities that a run calls: queues, ids, summaries, timeouts and retry policies.

Ids are explicit, so that a replay that would hand a result to another step fails loudly.
"""

from datetime import timedelta
from typing import TypedDict

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from branchwork.contract import (
        BASE_ACTIVITY,
        LAND_RUN,
        RESOLVE_BASE,
        RUN_STEP,
        AttemptEnd,
        AttemptRequest,
        Base,
        BaseRequest,
        Landing,
        LandRequest,
    )
    from branchwork.names import STEP_QUEUE
    from workflows.policies import CLOSING_TIME, HEARTBEAT_TIMEOUT, MACHINERY, REPOSITORY_TIME


class _Common(TypedDict):
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: workflow.ActivityCancellationType
    start_to_close_timeout: timedelta


async def resolve_base(request: BaseRequest) -> Base:
    base: Base = await workflow.execute_activity(
        RESOLVE_BASE,
        request,
        result_type=Base,
        activity_id=BASE_ACTIVITY,
        summary=f"run · base · resolve {request.revision}",
        schedule_to_close_timeout=REPOSITORY_TIME,
        **_within(REPOSITORY_TIME),
    )
    return base


async def run_step(request: AttemptRequest) -> AttemptEnd:
    """One attempt. Returns when its agent has ended, on a cancel too."""
    step = request.step
    end: AttemptEnd = await workflow.execute_activity(
        RUN_STEP,
        request,
        result_type=AttemptEnd,
        task_queue=STEP_QUEUE,
        activity_id=f"{step.id}.run.{request.attempt}",
        summary=f"{step.id} · run · {step.agent_name} · attempt {request.attempt}",
        **_within(step.timeout + CLOSING_TIME),
    )
    return end


async def land_run(request: LandRequest) -> Landing:
    landing: Landing = await workflow.execute_activity(
        LAND_RUN,
        request,
        result_type=Landing,
        activity_id="land",
        summary=f"run · land · merge of {len(request.leaves)}",
        schedule_to_close_timeout=REPOSITORY_TIME,
        **_within(REPOSITORY_TIME),
    )
    return landing


def reason_of(error: ActivityError) -> str:
    """`Name: sentence`, from what the activity raised."""
    cause = error.cause
    named = isinstance(cause, ApplicationError) and cause.type
    return f"{named or type(cause).__name__}: {getattr(cause, 'message', None) or cause or error}"


def _within(limit: timedelta) -> _Common:
    return {
        "heartbeat_timeout": HEARTBEAT_TIMEOUT,
        "start_to_close_timeout": limit,
        "retry_policy": MACHINERY,
        # With the default the run would close while its agents still write.
        "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    }
