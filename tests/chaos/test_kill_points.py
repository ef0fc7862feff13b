"""Every kill point of the table, several in one run: nothing is lost, repeated or left."""

from pathlib import Path

import pytest

from chaos.dealing import arm_all, missed, rounds, scripts_for
from chaos.plans import ladder
from chaos.points import POINTS
from chaos.trial import tried
from chaos.world import World

RUNGS = 7
ROUNDS = rounds(POINTS, 8, RUNGS)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(500)]


def test_the_table_holds_at_least_sixty_different_points() -> None:
    assert len({point.name for point in POINTS}) >= 60
    assert sum(map(len, ROUNDS)) == len(POINTS)


async def test_a_run_that_nobody_disturbs_gives_what_is_expected_of_the_others(
    tmp_path: Path,
) -> None:
    async with World(tmp_path / "world") as world:
        trial = await tried(world, ladder(RUNGS))

    assert not trial.violations, trial.told(world)
    assert world.kills() == []


@pytest.mark.parametrize("number", range(len(ROUNDS)))
async def test_a_run_is_killed_at_these_points_and_ends_as_if_it_had_not_been(
    tmp_path: Path, number: int
) -> None:
    dealt = ROUNDS[number]

    async with World(tmp_path / "world") as world:
        arm_all(world.folder, dealt, RUNGS)
        trial = await tried(world, scripts_for(dealt, RUNGS))

    assert not trial.violations, trial.told(world)
    assert missed(world, dealt) == [], trial.told(world)
