"""Workers that were taken for lost and come back: they publish over nobody's work."""

import asyncio
from pathlib import Path

import pytest

from branchwork.names import run_branch, run_refs
from chaos.checks import ledger_of, left_over, lost_bytes
from chaos.dealing import arm_all, missed, rounds, scripts_for
from chaos.points import ZOMBIE_POINTS
from chaos.trial import tried
from chaos.world import World
from repositories import refs_of

HARMING_SECONDS = 6
"""What they get to do harm in, once they are awake."""
RUNGS = 6
ROUNDS = rounds(ZOMBIE_POINTS, 2, RUNGS)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(500)]


@pytest.mark.parametrize("number", range(len(ROUNDS)))
async def test_a_worker_that_comes_back_does_not_publish_over_its_successor(
    tmp_path: Path, number: int
) -> None:
    dealt = ROUNDS[number]
    hosts = tuple("abcdef"[: len(dealt) + 1])

    async with World(tmp_path / "world", hosts, remote=True) as world:
        arm_all(world.folder, dealt, RUNGS)
        trial = await tried(world, scripts_for(dealt, RUNGS))
        ended = results(world, trial.run)
        await world.all_awake()
        await asyncio.sleep(HARMING_SECONDS)
        left = await left_over(world, trial.run)
        later = results(world, trial.run)
        lost = [*lost_bytes(world, ledger_of(world, trial.run))]

    assert not trial.violations, trial.told(world)
    assert missed(world, dealt) == [], trial.told(world)
    assert only_on_the_host_that_was_stopped(world, trial.run) == [], trial.told(world)
    assert (later, left, lost) == (ended, [], []), trial.told(world)


def results(world: World, run: str) -> dict[str, str]:
    """What others build on."""
    steps = refs_of(world.results, f"{run_refs(run)}/steps")
    branch = refs_of(world.results, f"refs/heads/{run_branch(run)}")
    return {**steps, **branch, **refs_of(world.results, f"{run_refs(run)}/result")}


def only_on_the_host_that_was_stopped(world: World, run: str) -> list[str]:
    """Steps at which a worker was stopped and that nobody else has done."""
    lines = [line for line in ledger_of(world, run) if line["what"] == "end"]
    stopped = {kill["point"]["step"]: kill["host"] for kill in world.kills()}
    return [
        step
        for step, host in stopped.items()
        if step != f"a{RUNGS}"
        and all(f"/hosts/{host}/" in line["place"] for line in lines if line["step"] == step)
    ]
