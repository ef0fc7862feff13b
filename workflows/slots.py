"""The places of a run: `max_parallel` of them, none given while it starts nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from temporalio import workflow


class Slots:
    def __init__(self, count: int, are_closed: Callable[[], bool]) -> None:
        self._free = asyncio.Semaphore(count)
        self._closed = are_closed
        self.paused = False
        """Whoever has a slot goes on; no other is given."""
        self.taken = 0
        self.last_emptied_at = 0
        """Length of the history when nobody had a slot any more."""

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        await self._take()
        self.taken += 1
        try:
            yield
        finally:
            self._give_back()

    async def _take(self) -> None:
        await self._free.acquire()
        while self._are_closed():
            self._free.release()
            await workflow.wait_condition(lambda: not self._are_closed())
            await self._free.acquire()

    def _give_back(self) -> None:
        self._free.release()
        self.taken -= 1
        # Not where a worker that forgets the run collects whoever had it.
        if not self.taken and workflow.in_workflow():
            self.last_emptied_at = workflow.info().get_current_history_length()

    def _are_closed(self) -> bool:
        return self.paused or self._closed()
