"""One run that is disturbed, and what is wrong after it."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from temporalio.service import RPCError

from branchwork.client import Branchwork
from branchwork.contract import RunRequest
from branchwork.errors import WorkerSilentError
from branchwork.names import new_run_id
from branchwork.outcomes import RunReport
from branchwork.plan import Plan
from chaos import checks
from chaos.plans import Scripts, plan_of
from chaos.world import World

RUN_SECONDS = 240
"""Longer than any of our plans takes with all its kills on a loaded machine."""
_AWAY = (RPCError, WorkerSilentError, RuntimeError)
"""What a client sees while the server or the worker is away."""


@dataclass(frozen=True)
class Trial:
    run: str
    report: RunReport | None
    violations: tuple[str, ...]
    seconds: float
    """From the request to the end."""
    clean_seconds: float
    """From the end until nothing was left."""

    def told(self, world: World) -> str:
        """For whoever has to find out why."""
        kills = [f"  {kill['at']:.2f} {kill['point']['name']}" for kill in world.kills()]
        return "\n".join([*self.violations, "kills:", *kills, f"logs and ledger: {world.folder}"])


async def started(world: World, scripts: Scripts, **fields: Any) -> str:
    plan = Plan.model_validate(plan_of(scripts, world.folder, **fields))
    request = RunRequest(plan=plan, repository=world.results_address)
    run = new_run_id("chaos")
    async with asyncio.timeout(RUN_SECONDS):
        while True:
            with suppress(*_AWAY):
                # Twice finds the run that is under way.
                return await Branchwork(world.client).start(request, run)
            await asyncio.sleep(0.2)


async def ended(world: World, run: str, seconds: float = RUN_SECONDS) -> RunReport | None:
    """Its report; None if it does not end within that time."""
    runs = Branchwork(world.client)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                with suppress(*_AWAY):
                    if await runs.is_over(run):
                        return await runs.report(run)
                await asyncio.sleep(0.1)
    return None


async def tried(
    world: World, scripts: Scripts, *, cancel_after: float | None = None, **fields: Any
) -> Trial:
    """Run the plan of `scripts`, whatever is armed, and look at what came of it."""
    before = checks.user_state(world.repository)
    began = time.monotonic()
    run = await started(world, scripts, **fields)
    asking = asyncio.create_task(_cancel(world, run, cancel_after))
    report = await ended(world, run)
    over = time.monotonic()
    asking.cancel()
    left = await checks.left_over(world, run) if report else []
    clean = time.monotonic()
    found = [*left]
    if report is None:
        found.append(f"the run did not end within {RUN_SECONDS} s")
    else:
        found += checks.bad_end(report) if cancel_after is None else checks.unclear_end(report)
    found += await asyncio.to_thread(_violations, world, run, scripts, report)
    if checks.user_state(world.repository) != before:
        found.append("the user's checkout was touched")
    return Trial(run, report, tuple(found), over - began, clean - over)


async def _cancel(world: World, run: str, after: float | None) -> None:
    if after is None:
        return None
    await asyncio.sleep(after)
    while True:
        with suppress(*_AWAY):
            return await Branchwork(world.client).cancel(run)
        await asyncio.sleep(0.2)


async def come_back(world: World, trial: Trial) -> list[str]:
    """Start the hosts that were killed for good after all: they clear up what they had."""
    for host in world.lost_hosts:
        world.revive(host)
    left = await checks.left_over(world, trial.run)
    lost = checks.lost_bytes(world, checks.ledger_of(world, trial.run))
    return [*left, *await asyncio.to_thread(list, lost)]


def _violations(
    world: World, run: str, scripts: Scripts, report: RunReport | None
) -> Iterable[str]:
    lines = checks.ledger_of(world, run)
    if report and report.branch:
        yield from checks.bad_tree(world.results, run, scripts)
    if report:
        yield from checks.lost_bytes(world, lines)
    hit = {pid for kill in world.kills() for pid in kill["pids"]}
    yield from checks.repeats(lines, scripts, hit, hosts=len(world.hosts))
    yield from checks.doubles(lines)
