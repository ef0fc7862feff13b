"""Heartbeats on a timer of their own, whatever the agent prints or does not."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from branchwork.contract import Pulse

INTERVAL_SECONDS = 0.5
"""The SDK sends fewer: see `max_heartbeat_throttle_interval` of the worker."""
HEARING_SECONDS = 4.0
"""Who was silent for long and is lost hears so in answer to its next heartbeat: the SDK sends
one every 2 s."""


class Beating:
    """What the next heartbeat says."""

    def __init__(self, host: str, lost_after: timedelta | None = None) -> None:
        self._pulse = Pulse(host=host, phase="worktree")
        self._longest_seconds = lost_after.total_seconds() / 2 if lost_after else 0
        self._last = time.monotonic()
        self._awake_since: float | None = None

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

    def beat(self) -> Pulse:
        now = time.monotonic()
        if 0 < self._longest_seconds < now - self._last:
            self._awake_since = now
        self._last = now
        return self._pulse

    async def is_sure(self) -> None:
        """Wait, after a long silence, for a cancel that may be on its way.

        A worker that was stopped, or a machine that slept, does not know yet that another
        one has taken over.
        """
        self.beat()
        if self._awake_since is not None:
            await asyncio.sleep(self._awake_since + HEARING_SECONDS - time.monotonic())
            self._awake_since = None


@asynccontextmanager
async def beating(
    host: str, send: Callable[[Pulse], None], lost_after: timedelta | None = None
) -> AsyncIterator[Beating]:
    """Sends every half second; a step that ends sooner costs no heartbeat.

    `lost_after` is the silence after which another worker takes over.
    """
    heart = Beating(host, lost_after)
    async with alive(lambda: send(heart.beat())):
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
