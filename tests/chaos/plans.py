"""Plans of scripted agents, and what must come of them."""

import random
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.made import PARTS, content
from chaos.world import AGENT

LOST_AFTER = "3s"
TRAITS = ("stubborn", "child", "commits", "fails")
"""`fails`: once, in its first attempt."""


@dataclass(frozen=True)
class Script:
    """What one step does."""

    step: str
    needs: tuple[str, ...]
    seconds: float = 0.3
    traits: tuple[str, ...] = ()

    def written(self, world: Path) -> Mapping[str, Any]:
        """As a step of a plan."""
        told = [str(world), self.step, str(self.seconds), *self.traits, "--", *self.needs]
        command = ["exec", sys.executable, "-S", "-E", str(AGENT), *told]
        return {
            "id": self.step,
            "run": shlex.join(command),
            "needs": list(self.needs),
            "creates": [f"out/{self.step}.txt", "tokens/"],
        }


Scripts = tuple[Script, ...]


def ladder(rungs: int = 7, seconds: float = 0.3) -> Scripts:
    """Two steps a rung; `aN` merges both of the rung before, `bN` has its `a` alone."""
    return tuple(_ladder(rungs, seconds))


def _ladder(rungs: int, seconds: float) -> Iterator[Script]:
    traits = ((), ("child",), ("commits",), (), ("stubborn", "child"))
    for rung in range(1, rungs + 1):
        before = rung - 1
        both = (f"a{before}", f"b{before}") if before else ()
        yield Script(f"a{rung}", both, seconds, traits[rung % len(traits)])
        yield Script(f"b{rung}", both[:1], seconds)


def scattered(chance: random.Random) -> Scripts:
    """12 to 20 steps, each with up to three needs of those before it."""
    scripts: list[Script] = []
    for number in range(chance.randint(12, 20)):
        known = [script.step for script in scripts]
        needs = chance.sample(known, min(len(known), chance.choice((0, 1, 1, 2, 2, 3))))
        traits = tuple(trait for trait in TRAITS if chance.random() < 0.2)
        seconds = chance.uniform(0.1, 2.0)
        scripts.append(Script(f"s{number:02}", tuple(needs), seconds, traits))
    return tuple(scripts)


def plan_of(scripts: Scripts, world: Path, **fields: Any) -> dict[str, Any]:
    return {
        "plan": "chaos",
        "lost_after": LOST_AFTER,
        "defaults": {"retry": {"attempts": 10, "initial": "1s"}},
        "steps": [script.written(world) for script in scripts],
        **fields,
    }


def expected_files(scripts: Scripts) -> dict[str, str]:
    """What an undisturbed run adds to the base; tokens are not the same in any two runs."""
    made: dict[str, str] = {}
    for script in scripts:
        needed = [made[f"out/{need}.txt"] for need in script.needs]
        made[f"out/{script.step}.txt"] = content(script.step, needed)
    tokens = {f"tokens/{script.step}-{part}": "" for script in scripts for part in PARTS}
    return {**made, **tokens}
