"""What an agent may take: the time of its attempt, and how long it may do nothing at all."""

import asyncio
import math
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from activities.agents.base import AgentWork
from activities.process import Process
from branchwork.durations import write_duration


class Limit(NamedTuple):
    """The one that an agent ran into."""

    name: str
    text: str


async def ended_within(process: Process, work: AgentWork, started_at: datetime) -> Limit | None:
    """None when the program has ended; else the limit that it passed, and still runs.

    Both limits count from its start, whoever has been following it meanwhile.
    """
    while True:
        left = (started_at + work.timeout - datetime.now(UTC)).total_seconds()
        patience = await _patience(process, work)
        if patience <= 0 and work.stall:
            text = f"neither output nor a changed file for {write_duration(work.stall)}"
            return Limit("Stalled", text)
        if await process.exited(min(left, patience)):
            return None
        if left <= patience:
            return Limit("TimedOut", f"no end after {write_duration(work.timeout)}")


async def _patience(process: Process, work: AgentWork) -> float:
    """Seconds that it may still do nothing. Looks at files only once output is that old."""
    if work.stall is None:
        return math.inf
    stall = work.stall.total_seconds()
    if process.silent_seconds < stall:
        return stall - process.silent_seconds
    return stall - (time.time() - await asyncio.to_thread(_last_change, work.worktree))


def _last_change(folder: Path) -> float:
    """When anything below last changed, in seconds since 1970; 0 if nothing can be seen."""
    newest = 0.0
    for top, _, files in os.walk(folder):
        for path in (top, *(os.path.join(top, name) for name in files)):  # noqa: PTH118  # many
            try:
                newest = max(newest, os.lstat(path).st_mtime)
            except OSError:
                continue
    return newest
