"""The places of a run: `max_parallel` of them, none given while it is paused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import workflow


class Slots:
    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self.paused = False
        """Whoever has a slot goes on; no other is given."""

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        await self._take()
        try:
            yield
        finally:
            self._free.release()

    async def _take(self) -> None:
        await self._free.acquire()
        while self.paused:
            self._free.release()
            await workflow.wait_condition(lambda: not self.paused)
            await self._free.acquire()
