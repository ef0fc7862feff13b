"""Who works on an attempt, and who takes it over when a worker falls silent or stops."""

from collections.abc import Callable
from datetime import timedelta
from itertools import count

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

with workflow.unsafe.imports_passed_through():
    from branchwork.contract import (
        WORK_HELD,
        WORKER_SHUTDOWN,
        AttemptEnd,
        AttemptRequest,
        HostRequest,
        Pulse,
    )
    from branchwork.limits import size_of
    from branchwork.names import host_queue
    from workflows import calls
    from workflows.outbox import Outbox

MOST_PATIENCE = timedelta(minutes=10)
"""Between two looks at a host that is there and does not take up, or hand over, what it has."""

MOST_LOSSES = 3
"""Hosts that one attempt may lose; the next loss is its end."""


class HostLostError(Exception):
    """The attempt has lost as many hosts as it may; the text names the last one."""


class Turns:
    """The turns of one attempt.

    Whoever falls silent is asked first, on the queue of its host alone: what it has begun
    lies on its disk. Only when nobody serves that queue is the host lost, and the attempt
    anyone's. A host that was taken for lost and took the attempt up itself was not.
    """

    def __init__(
        self,
        request: AttemptRequest,
        lost_after: timedelta,
        tell: Callable[[str], None],
        is_cancelled: Callable[[str], bool],
        outbox: Outbox,
    ) -> None:
        self._request = request
        self._size = size_of(request)
        self._outbox = outbox
        self._lost_after = lost_after
        self._tell = tell
        self._is_cancelled = is_cancelled
        self._host: str | None = None
        """The only one that is asked now; None: whoever of the pool comes first."""
        self._lost: list[str] = []
        self._asked_again = 0
        """How often the same host was asked without a new reason."""

    async def end(self) -> AttemptEnd:
        """Raises HostLostError, and ActivityError for whatever another turn cannot mend."""
        for turn in count(1):
            request = self._request.model_copy(update={"turn": turn})
            await self._outbox.room_for(self._size)
            try:
                return await calls.run_step(
                    request, self._lost_after, self._queue(), self._patience()
                )
            except ActivityError as error:
                if self._is_cancelled(request.step.id):
                    raise
                await self._hand_on(error, request)
        raise AssertionError  # count() has no end

    def _queue(self) -> str | None:
        return host_queue(self._host) if self._host else None

    def _patience(self) -> timedelta:
        """How long that host may take to take it up; each time longer, for the history's sake."""
        grown: timedelta = self._lost_after * 2 ** min(self._asked_again, 16)
        return max(self._lost_after, min(grown, MOST_PATIENCE))

    async def _hold(self) -> None:
        """Wait before the work that a host holds is asked for again: its remote is away."""
        self._asked_again += 1
        if self._asked_again > 1:
            summary = f"{self._request.step.id} · turn · its host holds the work"
            await workflow.sleep(self._patience(), summary=summary)

    async def _hand_on(self, error: ActivityError, request: AttemptRequest) -> None:
        """Choose who is asked next. Raises `error` if nobody else would do better."""
        if self._host and _is_timeout(error, TimeoutType.SCHEDULE_TO_START):
            await self._doubt(self._host, request)
        elif _is_silence(error) or _type_of(error) == WORK_HELD:
            self._host = _host_of(error)
            self._forgive(self._host)
            self._tell(_what_holds(error, self._host or "its host"))
            if _type_of(error) == WORK_HELD:
                await self._hold()
            else:
                self._asked_again = 0
        else:
            raise error

    async def _doubt(self, host: str, request: AttemptRequest) -> None:
        """A busy host is asked again; one without a worker is lost."""
        if await calls.is_served(HostRequest(host=host), request):
            self._asked_again += 1
            return
        self._lost.append(host)
        if len(self._lost) > MOST_LOSSES:
            raise HostLostError(
                f"HostLost: {', '.join(self._lost)} went away one after the other, the last one"
                f" without a worker that answers; start one with `branchwork up`, then retry"
            )
        self._tell(f"HostLost: no worker answers on {host}; waiting for any worker")
        self._host = None

    def _forgive(self, host: str | None) -> None:
        if self._lost and self._lost[-1] == host:
            self._lost.pop()


def _is_silence(error: ActivityError) -> bool:
    return _type_of(error) == WORKER_SHUTDOWN or _is_timeout(error, TimeoutType.HEARTBEAT)


def _type_of(error: ActivityError) -> str | None:
    return error.cause.type if isinstance(error.cause, ApplicationError) else None


def _what_holds(error: ActivityError, host: str) -> str:
    if isinstance(error.cause, ApplicationError) and error.cause.type == WORK_HELD:
        return f"{error.cause.message}; the work is on {host}"
    return f"the worker on {host} stopped; waiting for it"


def _is_timeout(error: ActivityError, kind: TimeoutType) -> bool:
    return isinstance(error.cause, TemporalTimeoutError) and error.cause.type is kind


def _host_of(error: ActivityError) -> str | None:
    """None if the worker fell silent before its first heartbeat."""
    cause = error.cause
    if isinstance(cause, TemporalTimeoutError):
        details = cause.last_heartbeat_details
        return Pulse.model_validate(details[0]).host if details else None
    if isinstance(cause, ApplicationError) and cause.details:
        return str(cause.details[0])
    return None
