"""`make chaos`: random plans, killed at random, until the time is over; figures at the end.

Each run follows from its seed: `SEED=7 make chaos` begins with the run of seed 7.
Ends with 1 if anything that must hold did not.
"""

import argparse
import asyncio
import random
import secrets
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median

from branchwork.cli.leaving import leave
from chaos.cancels import Cancel, cancel_series
from chaos.disturbing import arm_some, kill_at_random
from chaos.plans import scattered
from chaos.trial import Trial, come_back, tried
from chaos.world import World

AT_ONCE = 2
"""Runs, each in a world of its own; most of the time they wait."""
CANCELS = 50
"""Of runs that nobody kills, for the time until they are quiet."""
CANCELLED = 0.15
"""Share of the runs that are cancelled while they are being killed."""


@dataclass(frozen=True)
class Killed:
    """A disturbed run beside an undisturbed one of the same plan."""

    seed: int
    calm: Trial
    trial: Trial
    kills: tuple[str, ...]
    """What each was, as `SIGNAL of WHOM`."""

    @property
    def violations(self) -> tuple[str, ...]:
        return self.calm.violations + self.trial.violations

    @property
    def seconds_lost(self) -> float:
        """By each kill."""
        return (self.trial.seconds - self.calm.seconds) / max(1, len(self.kills))


async def killed(folder: Path, seed: int) -> Killed:
    chance = random.Random(seed)
    scripts = scattered(chance)
    hosts = chance.choice((("a",), ("a",), ("a", "b")))
    async with World(folder, hosts, remote=len(hosts) > 1) as world:
        calm = await tried(world, scripts)
        arm_some(world, scripts, chance, chance.randint(2, 5))
        killing = asyncio.create_task(kill_at_random(world, chance, chance.randint(1, 4)))
        cancel_after = chance.uniform(1, 30) if chance.random() < CANCELLED else None
        trial = await tried(world, scripts, cancel_after=cancel_after)
        killing.cancel()
        wrong = await come_back(world, trial)
    trial = replace(trial, violations=(*trial.violations, *wrong))
    kills = tuple(kill["point"]["point"].rpartition(": ")[2] for kill in world.kills())
    done = Killed(seed, calm, trial, kills)
    _tell(done, f"{len(scripts)} steps on {len(hosts)} host(s)", world)
    if not done.violations:
        shutil.rmtree(folder)
    return done


def _tell(done: Killed, what: str, world: World) -> None:
    if done.violations:
        told = f"violated\n{done.calm.told(world)}\n{done.trial.told(world)}"
    else:
        seconds = f"{done.trial.seconds:.0f} s ({done.calm.seconds:.0f} s undisturbed)"
        told = f"{what}, {len(done.kills)} kills, {seconds}"
    print(f"seed {done.seed}: {told}", flush=True)


async def run_until(folder: Path, seed: int, seconds: float) -> list[Killed]:
    until = time.monotonic() + seconds
    seeds, done = count(seed), list[Killed]()

    async def one_after_another() -> None:
        while time.monotonic() < until:
            seed = next(seeds)
            done.append(await killed(folder / f"seed-{seed}", seed))

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
    return done


async def cancels_of(folder: Path, seed: int) -> list[Cancel]:
    async with World(folder / "cancels") as world:
        cancels = await cancel_series(world, CANCELS, random.Random(seed))
    for cancel in cancels:
        for what in cancel.violations:
            print(f"{cancel.run}, cancelled: {what}; logs: {world.folder}", flush=True)
    return cancels


def report(seed: int, done: list[Killed], cancels: list[Cancel]) -> int:
    """Print the figures; how many violations there were."""
    kinds = Counter(kind for run in done for kind in run.kills)
    violated = sum(len(run.violations) for run in done)
    lost = [run.seconds_lost for run in done if run.kills]
    clean = [run.trial.clean_seconds for run in done]
    print(f"seed {seed}: {len(done)} runs, {sum(kinds.values())} kills, {violated} violations")
    for kind, often in kinds.most_common():
        print(f"  {often:4} {kind}")
    print(f"a kill cost {median(lost):.1f} s (median), at most {max(lost):.1f} s")
    print(f"nothing left {median(clean):.1f} s after the end (median), at most {max(clean):.1f} s")
    if cancels:
        quiet = [cancel.quiet_seconds for cancel in cancels]
        wrong = sum(len(cancel.violations) for cancel in cancels)
        print(
            f"{len(cancels)} runs cancelled, {wrong} violations; quiet after {median(quiet):.1f} s"
            f" (median), at most {max(quiet):.1f} s"
        )
        violated += wrong
    return violated


async def main(seconds: float, seed: int, *, cancelling: bool) -> int:
    folder = Path(tempfile.mkdtemp(prefix="branchwork-chaos-"))
    print(f"seed {seed}, in {folder}", flush=True)
    began = time.monotonic()
    cancels = await cancels_of(folder, seed) if cancelling else []
    done = await run_until(folder, seed, seconds - (time.monotonic() - began))
    violated = report(seed, done, cancels)
    if not violated:
        shutil.rmtree(folder)
    return min(violated, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=secrets.randbits(20))
    parser.add_argument("--no-cancels", action="store_true")
    given = parser.parse_args()
    leave(asyncio.run(main(given.seconds, given.seed, cancelling=not given.no_cancels)))
