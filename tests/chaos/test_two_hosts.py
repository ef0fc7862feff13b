"""Hosts that share nothing but a bare remote: one goes away for good, another finishes."""

from pathlib import Path

import pytest

from chaos.dealing import arm_all, missed, rounds, scripts_for
from chaos.points import HOST_POINTS
from chaos.trial import come_back, tried
from chaos.world import World

RUNGS = 6
ROUNDS = rounds(HOST_POINTS, 3, RUNGS)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(500)]


@pytest.mark.parametrize("number", range(len(ROUNDS)))
async def test_another_host_finishes_what_those_that_are_gone_for_good_had_begun(
    tmp_path: Path, number: int
) -> None:
    dealt = ROUNDS[number]
    hosts = tuple("abcdef"[: len(dealt) + 1])

    async with World(tmp_path / "world", hosts, remote=True) as world:
        arm_all(world.folder, dealt, RUNGS)
        trial = await tried(world, scripts_for(dealt, RUNGS))
        gone = world.lost_hosts
        wrong = await come_back(world, trial)

    assert not trial.violations, trial.told(world)
    assert missed(world, dealt) == [], trial.told(world)
    assert len(gone) == len(dealt), trial.told(world)
    assert wrong == [], f"after hosts came back: {trial.told(world)}"
