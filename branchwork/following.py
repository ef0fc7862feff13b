"""Follow a run through the deaths of its server and its workers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime

from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from branchwork.client import Branchwork
from branchwork.errors import NoSuchRunError, WorkerSilentError
from branchwork.losses import Watch
from branchwork.outcomes import RunReport
from branchwork.sights import (
    Activity,
    Loss,
    Lost,
    Sight,
    activities_of,
    held_up,
    unknown_report,
)
from branchwork.workers import workers_on

ANSWER_SECONDS = 4
"""What a server gets for an answer; the SDK asks it again within."""
_QUERY_SECONDS = 8
"""A query waits for a worker, and says after four seconds that there is none."""
_FIND_SECONDS = 3
_GRACE_SECONDS = 12
"""Workers find a server that is back within ten seconds: until then their silence tells nothing."""
_NEW_SECONDS = 3
"""A new worker is heard at the latest so long after it answers."""

_REFUSALS = (
    RPCStatusCode.INVALID_ARGUMENT,
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNAUTHENTICATED,
    RPCStatusCode.UNIMPLEMENTED,
)
"""Answers that the next time would be the same."""

Find = Callable[[], Awaitable[Branchwork | None]]
"""Looks where the server may be now; None as long as none answers."""


Wish = Callable[[Branchwork], Awaitable[None]]
"""Something to ask of a run; asking twice must have the effect of once."""


async def nowhere_else() -> None:
    """The server has one address, and its client tries that again by itself."""


class Follower:
    """One run, looked at again and again. A server that does not answer is waited for."""

    def __init__(self, runs: Branchwork, run: str, find: Find = nowhere_else) -> None:
        self._runs = runs
        self._run = run
        self._find = find
        self._watch = Watch()
        self._seen: RunReport | None = None
        self._activities: Mapping[str, Activity] = {}
        self._history = ("", 0)
        """The last one that was seen, and its length."""
        self._is_answered = True
        self._has_no_server = False
        self._trusted_from = 0.0
        self._wish: Wish | None = None

    def ask(self, wish: Wish) -> None:
        """Ask something of the run as soon as its server, and a worker if need be, answer.

        It may be asked twice, if the first answer was lost.
        """
        self._wish = wish

    @property
    def has_asked(self) -> bool:
        """Whether nothing is left to ask."""
        return self._wish is None

    async def sights(self, interval_seconds: float = 0.5) -> AsyncIterator[Sight]:
        """Until the run has ended; the last one holds its final report.

        Raises NoSuchRunError, and RPCError for a server that refuses to answer.
        """
        while True:
            sight = await self._sight()
            yield sight
            if sight.report.outcome is not None:
                return
            await asyncio.sleep(interval_seconds)

    async def _sight(self) -> Sight:
        if self._has_no_server:
            await self._find_server()
        try:
            sight = await self._look()
        except (TimeoutError, RPCError) as error:
            if isinstance(error, RPCError) and error.status in _REFUSALS:
                raise
            return self._without_server()
        self._has_no_server = False
        return sight

    def _without_server(self) -> Sight:
        self._has_no_server = True
        # What was not seen meanwhile has not been silent.
        self._watch, self._is_answered = Watch(), False
        self._trusted_from = time.monotonic() + _GRACE_SECONDS
        report = self._seen or unknown_report(self._run, datetime.now(UTC))
        return Sight(report=report, activities=self._activities, lost=(Lost(loss=Loss.SERVER),))

    async def _look(self) -> Sight:
        async with asyncio.timeout(ANSWER_SECONDS):
            description = await self._runs.describe(self._run)
            activities = await activities_of(description, self._runs.client.data_converter)
        if description.status is not WorkflowExecutionStatus.RUNNING:
            return Sight(report=await self._report(description))
        now, clock = time.monotonic(), datetime.now(UTC)
        self._activities = activities
        self._watch.see(activities, now)
        await self._query(description, now)
        await self._tell()
        await self._listen(now, clock)
        self._seen = self._seen or unknown_report(self._run, description.start_time)
        return Sight(
            report=self._seen,
            activities=activities,
            lost=self._lost(now, clock),
            held_up=held_up(description),
        )

    async def _tell(self) -> None:
        if self._wish is None:
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._wish(self._runs)
        except TimeoutError:
            # The server answered a moment ago, so it is the worker that does not.
            self._is_answered = False
        else:
            self._wish = None

    async def _query(self, description: WorkflowExecutionDescription, now: float) -> None:
        """Ask the run itself if it has moved, or if nobody may be there to answer."""
        history = (description.run_id, description.history_length)
        is_new = self._seen is None or self._history != history
        if is_new or not self._is_answered or self._watch.is_suspicious(now):
            self._history = history
            try:
                self._seen = await self._report(description)
            except WorkerSilentError:
                self._is_answered = False
            else:
                self._note_answer()

    def _note_answer(self) -> None:
        if not self._is_answered:
            self._trusted_from = max(self._trusted_from, time.monotonic() + _NEW_SECONDS)
        self._is_answered = True

    async def _report(self, description: WorkflowExecutionDescription) -> RunReport:
        async with asyncio.timeout(_QUERY_SECONDS):
            return await self._runs.report(self._run, description)

    async def _listen(self, now: float, clock: datetime) -> None:
        queues = self._watch.doubted(now, clock)
        if queues:
            async with asyncio.timeout(ANSWER_SECONDS):
                workers = await workers_on(self._runs.client, queues)
            if workers is not None:
                self._watch.hear(workers, now)

    def _lost(self, now: float, clock: datetime) -> tuple[Lost, ...]:
        if now < self._trusted_from:
            return ()
        return self._watch.lost(now, clock) if self._is_answered else (Lost(loss=Loss.WORKER),)

    async def _find_server(self) -> None:
        """Turn to a server that knows the run, if there is one elsewhere by now."""
        try:
            async with asyncio.timeout(_FIND_SECONDS):
                found = await self._find()
                if found:
                    await found.describe(self._run)
                    self._runs = found
        except (TimeoutError, RPCError, NoSuchRunError):
            return
