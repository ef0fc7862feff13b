"""Runs cancelled at random instants leave nothing, and lose nothing."""

import random
import secrets
from pathlib import Path

import pytest

from chaos.cancels import cancel_series
from chaos.world import World

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(500)]

COUNT = 8
MOST_SECONDS = 30
"""Ten on a machine of its own (`make chaos` measures it); here others may keep it busy."""


async def test_nothing_is_left_of_runs_that_are_cancelled_at_any_instant(tmp_path: Path) -> None:
    seed = secrets.randbits(32)

    async with World(tmp_path / "world") as world:
        cancels = await cancel_series(world, COUNT, random.Random(seed))

    longest = max(cancel.quiet_seconds for cancel in cancels)
    found = [f"{cancel.run}: {what}" for cancel in cancels for what in cancel.violations]
    assert found == [], f"seed {seed}, logs in {world.folder}"
    assert longest < MOST_SECONDS, f"seed {seed}"
