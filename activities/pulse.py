"""Heartbeats on a timer of their own, whatever the agent prints or does not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from branchwork.contract import Pulse

INTERVAL_SECONDS = 0.5
"""The SDK sends fewer: see `max_heartbeat_throttle_interval` of the worker."""


class Beating:
    """What the next heartbeat says."""

    def __init__(self, host: str) -> None:
        self._pulse = Pulse(host=host, phase="worktree")

    @property
    def pulse(self) -> Pulse:
        return self._pulse

    def phase(self, name: str) -> None:
        self._pulse = self._pulse.model_copy(update={"phase": name})

    def began(self, started_at: datetime, session: str) -> None:
        update = {"started_at": started_at, "session": session}
        self._pulse = self._pulse.model_copy(update=update)

    def line(self, text: str) -> None:
        self._pulse = self._pulse.model_copy(update={"line": text})


@asynccontextmanager
async def beating(host: str, send: Callable[[Pulse], None]) -> AsyncIterator[Beating]:
    """Sends every half second; a step that ends sooner costs no heartbeat."""
    heart = Beating(host)
    async with alive(lambda: send(heart.pulse)):
        yield heart


@asynccontextmanager
async def alive(send: Callable[[], None]) -> AsyncIterator[None]:
    """Calls `send` every half second while the block lasts."""
    beats = asyncio.create_task(_beat(send))
    try:
        yield
    finally:
        beats.cancel()


async def _beat(send: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        send()
