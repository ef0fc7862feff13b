"""Every kill point of the table, several in one run: nothing is lost, repeated or left."""

from dataclasses import replace
from pathlib import Path

import pytest

from chaos.plans import ladder
from chaos.points import POINTS, Point, rounds
from chaos.trial import tried
from chaos.world import World

RUNGS = 7
ROUNDS = rounds(POINTS, RUNGS)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def test_the_table_holds_at_least_sixty_different_points() -> None:
    assert len({point.name for point in POINTS}) >= 60
    assert sum(map(len, ROUNDS)) == len(POINTS)


@pytest.mark.parametrize("number", range(len(ROUNDS)))
async def test_a_run_is_killed_at_these_points_and_ends_as_if_it_had_not_been(
    tmp_path: Path, number: int
) -> None:
    dealt = ROUNDS[number]
    long = {step: point.seconds for point, step in dealt}
    scripts = tuple(
        replace(script, seconds=long.get(script.step, script.seconds)) for script in ladder(RUNGS)
    )
    async with World(tmp_path / "world") as world:
        arm_all(dealt, world.folder)

        trial = await tried(world, scripts)

    struck = {kill["point"].get("point") for kill in world.kills() if kill["pids"]}
    missed = [point.name for point, _ in dealt if point.name not in struck]
    assert not trial.violations, trial.told(world)
    assert missed == [], trial.told(world)


def arm_all(dealt: list[tuple[Point, str]], world: Path) -> None:
    for order, (point, step) in enumerate(dealt):
        before = f"a{int(step[1:]) - 1}"
        point.arm(world, order, step, before=before, last=f"a{RUNGS}")
