"""How a run stands, as its server knows it, and which leftovers that makes."""

import re
from collections.abc import Mapping
from datetime import datetime

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
)
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from branchwork.contract import RUN_PLAN, Pulse
from branchwork.models import Message

_ID = re.compile(r"(?P<step>.+)\.(?P<phase>[a-z]+)\.(?P<attempt>[0-9]+)(?:\.[0-9]+)?")
"""Of an activity of a step."""
_RUN = "run"
"""The phase of an attempt's activity."""
_STARTED = (
    PendingActivityState.PENDING_ACTIVITY_STATE_STARTED,
    PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED,
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED,
)


class UnderWay(Message):
    """A step's attempt that the run waits for."""

    attempt: int
    host: str | None = None
    """Where it runs; None as long as no worker has it, or none that has told."""


class Standing(Message):
    """Of a run that its server knows."""

    ended_at: datetime | None = None
    """None while it is under way."""
    attempts: Mapping[str, UnderWay] = {}
    """By step."""
    undecided: frozenset[str] = frozenset()
    """Steps of which the run is finding out something else: who may go on with an attempt."""
    is_deciding: bool = False
    """Whether something happened of which the run does not know yet."""


def why_left_over(standing: Standing, step: str, attempt: int, host: str) -> str | None:
    """Why nobody will go on with what `attempt` left on `host`; None if somebody may."""
    if standing.ended_at:
        return "its run has ended"
    if step in standing.undecided or standing.is_deciding:
        return None
    now = standing.attempts.get(step)
    if now is None:
        return "its step has ended, or waits for another attempt"
    if now.attempt > attempt:
        return f"attempt {now.attempt} of its step is under way"
    # Without a host it waits for a worker, and that may be one of this host, which goes on with it.
    if now.host and now.host != host:
        return f"its attempt runs on {now.host}"
    return None


async def standing_of(client: Client, run: str) -> Standing | None:
    """None for a run that the server does not know: it may be another server's."""
    try:
        description = await client.get_workflow_handle(run).describe()
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
            return None
        raise
    if description.workflow_type != RUN_PLAN:
        return None
    if description.status is not WorkflowExecutionStatus.RUNNING:
        return Standing(ended_at=description.close_time or description.start_time)
    return await _standing(description, client.data_converter)


async def _standing(
    description: WorkflowExecutionDescription, converter: DataConverter
) -> Standing:
    raw = description.raw_description
    found = [(_ID.fullmatch(info.activity_id), info) for info in raw.pending_activities]
    steps = [(match, info) for match, info in found if match]
    return Standing(
        attempts={
            match["step"]: UnderWay(
                attempt=int(match["attempt"]), host=await _host(info, converter)
            )
            for match, info in steps
            if match["phase"] == _RUN
        },
        undecided=frozenset(match["step"] for match, _ in steps if match["phase"] != _RUN),
        is_deciding=raw.HasField("pending_workflow_task"),
    )


async def _host(info: PendingActivityInfo, converter: DataConverter) -> str | None:
    """By a heartbeat of this very try: Temporal keeps the last one of the try before it."""
    beat, start = info.last_heartbeat_time, info.last_started_time
    if info.state not in _STARTED or beat.ToNanoseconds() < start.ToNanoseconds():
        return None
    payloads = info.heartbeat_details.payloads
    pulses = await converter.decode(payloads, [Pulse]) if payloads else []
    return pulses[0].host if pulses else None
