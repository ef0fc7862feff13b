"""Heartbeats, and what a long silence between them means."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from activities.pulse import Beating, beating

LOST_AFTER = timedelta(seconds=1)


@asynccontextmanager
async def waiting(heart: Beating) -> AsyncIterator["asyncio.Task[None]"]:
    sure = asyncio.create_task(heart.is_sure())
    await asyncio.sleep(0.05)
    try:
        yield sure
    finally:
        sure.cancel()


async def test_whoever_was_stopped_for_long_waits_whether_another_has_taken_over() -> None:
    async with beating("here", lambda _: None, LOST_AFTER) as heart:
        # As if the whole process were stopped.
        time.sleep(0.6)  # noqa: ASYNC251
        async with waiting(heart) as sure:
            assert not sure.done()


async def test_a_silence_that_a_beat_has_ended_still_counts_for_a_while() -> None:
    async with beating("here", lambda _: None, LOST_AFTER) as heart:
        time.sleep(0.6)  # noqa: ASYNC251
        await asyncio.sleep(0.05)
        async with waiting(heart) as sure:
            assert not sure.done()


async def test_whoever_beats_is_sure_at_once() -> None:
    async with beating("here", lambda _: None, timedelta(seconds=60)) as heart:
        await asyncio.sleep(0.6)
        async with waiting(heart) as sure:
            assert sure.done()


async def test_where_nobody_takes_over_there_is_nothing_to_wait_for() -> None:
    async with beating("here", lambda _: None) as heart:
        time.sleep(0.6)  # noqa: ASYNC251
        async with waiting(heart) as sure:
            assert sure.done()
