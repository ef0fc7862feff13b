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
        IS_SERVED,
        LAND_RUN,
        RESOLVE_BASE,
        RUN_STEP,
        AttemptEnd,
        AttemptRequest,
        Base,
        BaseRequest,
        HostRequest,
        Landing,
        LandRequest,
    )
    from branchwork.limits import MOST_SUMMARY_BYTES, shortened
    from branchwork.names import step_queue
    from workflows.policies import ATTEMPT, CLOSING_TIME, MACHINERY, REPOSITORY_TIME


class _Common(TypedDict):
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: workflow.ActivityCancellationType
    start_to_close_timeout: timedelta


async def resolve_base(request: BaseRequest, lost_after: timedelta) -> Base:
    base: Base = await workflow.execute_activity(
        RESOLVE_BASE,
        request,
        result_type=Base,
        activity_id=BASE_ACTIVITY,
        summary=_summary(f"run · base · resolve {request.revision}"),
        schedule_to_close_timeout=REPOSITORY_TIME,
        **_within(REPOSITORY_TIME, MACHINERY, lost_after),
    )
    return base


async def run_step(
    request: AttemptRequest, lost_after: timedelta, host_queue: str | None, patience: timedelta
) -> AttemptEnd:
    """One turn of an attempt. Returns when its agent has ended, on a cancel too.

    On a host's own queue it must be taken up within `patience`; on a pool's it may wait.
    """
    step, turn = request.step, f".{request.turn}" if request.turn > 1 else ""
    end: AttemptEnd = await workflow.execute_activity(
        RUN_STEP,
        request,
        result_type=AttemptEnd,
        task_queue=host_queue or step_queue(request.labels),
        schedule_to_start_timeout=patience if host_queue else None,
        activity_id=f"{step.id}.run.{request.attempt}{turn}",
        summary=_summary(f"{step.id} · run · attempt {request.attempt} · {step.agent_name}"),
        **_within(step.timeout + CLOSING_TIME, ATTEMPT, lost_after),
    )
    return end


async def is_served(request: HostRequest, asking: AttemptRequest) -> bool:
    """Whether a live worker serves that host's own queue."""
    served: bool = await workflow.execute_activity(
        IS_SERVED,
        request,
        result_type=bool,
        activity_id=f"{asking.step.id}.host.{asking.attempt}.{asking.turn}",
        summary=_summary(f"run · host · is there a worker on {request.host}"),
        **_within(REPOSITORY_TIME, MACHINERY, timedelta(seconds=30)),
    )
    return served


async def land_run(request: LandRequest, lost_after: timedelta) -> Landing:
    landing: Landing = await workflow.execute_activity(
        LAND_RUN,
        request,
        result_type=Landing,
        activity_id="land",
        summary=f"run · land · merge of {len(request.leaves)}",
        schedule_to_close_timeout=REPOSITORY_TIME,
        **_within(REPOSITORY_TIME, MACHINERY, lost_after),
    )
    return landing


def reason_of(error: ActivityError) -> str:
    """`Name: sentence`, from what the activity raised."""
    cause = error.cause
    named = isinstance(cause, ApplicationError) and cause.type
    text = f"{named or type(cause).__name__}: {getattr(cause, 'message', None) or cause or error}"
    return shortened(text)


def _summary(text: str) -> str:
    return shortened(text, MOST_SUMMARY_BYTES)


def _within(limit: timedelta, policy: RetryPolicy, lost_after: timedelta) -> _Common:
    return {
        "heartbeat_timeout": lost_after,
        "start_to_close_timeout": limit,
        "retry_policy": policy,
        # With the default the run would close while its agents still write.
        "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    }
