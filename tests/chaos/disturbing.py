"""Kills by chance: points of the table at steps of any plan, and instants of no phase at all."""

import asyncio
import random
import signal
from collections.abc import Callable

from chaos.plans import Scripts
from chaos.points import HOST_POINTS, PAUSE_SECONDS, POINTS, Point
from chaos.world import World

PAUSES_OF_ZOMBIES = (PAUSE_SECONDS, 25.0)
"""The longer one is long enough, most often, for another host to take over."""
PAUSES = (0.2, 6.0)
"""Seconds between two kills at instants of no phase."""


def arm_some(world: World, scripts: Scripts, chance: random.Random, count: int) -> list[Point]:
    """Points of any phase, each at a step of its own where it is a step's."""
    last = scripts[-1].step
    merging = [script for script in scripts if len(script.needs) > 1]
    # One host at most is lost for good by these; there may be two.
    several = len(world.hosts) > 1
    chosen = [*chance.sample(POINTS, count), *(chance.sample(HOST_POINTS, 1) if several else ())]
    for order, point in enumerate(chosen):
        script = chance.choice(merging if "merge" in point.phase and merging else scripts)
        before = script.needs[-1] if script.needs else last
        point.arm(world.folder, order, script.step, before=before, last=last)
    return chosen


async def kill_at_random(world: World, chance: random.Random, count: int) -> None:
    """`count` kills, one after another."""
    for _ in range(count):
        await asyncio.sleep(chance.uniform(*PAUSES))
        chance.choice(_KINDS)(world, chance)


def _worker(world: World, chance: random.Random) -> None:
    world.kill("worker", signal.SIGKILL, chance.choice(world.hosts))


def _stopping_worker(world: World, chance: random.Random) -> None:
    world.kill("worker", signal.SIGTERM, chance.choice(world.hosts))


def _zombie(world: World, chance: random.Random) -> None:
    host, successor = chance.choice(world.hosts), chance.random() < 0.5
    pause = PAUSE_SECONDS if len(world.hosts) == 1 else chance.choice(PAUSES_OF_ZOMBIES)
    world.kill("worker", signal.SIGSTOP, host, pause=pause, successor=successor)


def _server(world: World, _: random.Random) -> None:
    world.kill("server", signal.SIGKILL)


def _both(world: World, chance: random.Random) -> None:
    _server(world, chance)
    _worker(world, chance)


def _machine(world: World, _: random.Random) -> None:
    world.kill("machine", signal.SIGKILL)


def _agent(world: World, chance: random.Random) -> None:
    """Its first process; one that has no need to end well does not fail its step for good."""
    if agents := world.agents():
        world.kill(str(chance.choice(agents)), signal.SIGKILL)


def _lost_host(world: World, chance: random.Random) -> None:
    """For good, as long as another one is left to finish."""
    world.kill("host", signal.SIGKILL, chance.choice(world.hosts), for_good=True)


_KINDS: tuple[Callable[[World, random.Random], None], ...] = (
    _worker,
    _worker,
    _stopping_worker,
    _zombie,
    _server,
    _both,
    _machine,
    _agent,
    _lost_host,
)
