"""The points of the table, dealt out to runs of a ladder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from chaos.plans import Script, Scripts, ladder
from chaos.points import Point
from chaos.world import World

Dealt = Sequence[tuple[Point, str]]
"""Each with the step at which it strikes."""


def rounds(points: Sequence[Point], count: int, rungs: int) -> list[Dealt]:
    """`points` in `count` runs of a ladder; several of one step in the order of their phases."""
    slots = {"base": ["a1"], "step": [f"a{n}" for n in range(2, rungs)], "land": [f"a{rungs}"]}
    dealt: list[list[tuple[Point, str]]] = [[] for _ in range(count)]
    for place, steps in slots.items():
        here = sorted((point for point in points if point.place == place), key=_order)
        for index, point in enumerate(here):
            turn = index % count
            dealt[turn].append((point, steps[index // count % len(steps)]))
    return dealt


def _order(point: Point) -> tuple[int, bool, int]:
    return point.order


def scripts_for(dealt: Dealt, rungs: int) -> Scripts:
    """A ladder whose agents are as the points of their steps need them."""
    scripts = {script.step: script for script in ladder(rungs)}
    for point, step in dealt:
        scripts[step] = _suited(scripts[step], point)
    return tuple(scripts.values())


def _suited(script: Script, point: Point) -> Script:
    seconds = max(script.seconds, point.seconds)
    return replace(script, seconds=seconds, traits=script.traits + point.traits)


def arm_all(world: Path, dealt: Dealt, rungs: int) -> None:
    for order, (point, step) in enumerate(dealt):
        before = f"a{int(step[1:]) - 1}"
        point.arm(world, order, step, before=before, last=f"a{rungs}")


def missed(world: World, dealt: Dealt) -> list[str]:
    """Those that hit nobody."""
    struck = {kill["point"].get("point") for kill in world.kills() if kill["pids"]}
    return [point.name for point, _ in dealt if point.name not in struck]
