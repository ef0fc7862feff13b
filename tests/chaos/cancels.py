"""Runs that are cancelled at random instants: how long until nothing of them is left."""

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass

from temporalio.service import RPCError

from branchwork.client import Branchwork
from branchwork.outcomes import Outcome
from chaos import checks
from chaos.plans import scattered
from chaos.trial import ended, started
from chaos.world import World

LATEST_SECONDS = 5.0
"""After a run's start; some have not begun their first step then, some are landing."""


@dataclass(frozen=True)
class Cancel:
    run: str
    outcome: Outcome | None
    quiet_seconds: float
    """From the request until the run was over and nothing of it was left."""
    violations: tuple[str, ...]


async def cancelled(world: World, chance: random.Random) -> Cancel:
    """One run, cancelled once or twice."""
    run = await started(world, scattered(chance))
    await asyncio.sleep(chance.uniform(0, LATEST_SECONDS))
    began = time.monotonic()
    asking = asyncio.create_task(_ask(world, run, again_after=chance.choice((None, 0.5, 1.5))))
    report = await ended(world, run, 60)
    left = await checks.left_over(world, run)
    quiet = time.monotonic() - began
    await asking
    lost = checks.lost_bytes(world, checks.ledger_of(world, run))
    unclear = checks.unclear_end(report) if report else ["the run did not end"]
    found = [*left, *unclear, *await asyncio.to_thread(list, lost)]
    return Cancel(run, report.outcome if report else None, quiet, tuple(found))


async def _ask(world: World, run: str, again_after: float | None) -> None:
    runs = Branchwork(world.client)
    await runs.cancel(run)
    if again_after is not None:
        await asyncio.sleep(again_after)
        with suppress(RPCError):
            await runs.cancel(run, "again")


async def cancel_series(world: World, count: int, chance: random.Random) -> list[Cancel]:
    return [await cancelled(world, chance) for _ in range(count)]
