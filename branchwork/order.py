"""Order in a graph of steps: circles, levels, and who comes before whom."""

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

Needs = Mapping[str, Sequence[str]]
"""Each step's needs, by its id; in plan order."""

_MOST_CYCLES = 10


def cycles(needs: Needs) -> list[list[str]]:
    """Circles that share no step; in each a step needs the one after it, the last one the first."""
    found: list[list[str]] = []
    while len(found) < _MOST_CYCLES and (cycle := _a_cycle(needs)):
        found.append(cycle)
        needs = _without(needs, cycle)
    return found


def _a_cycle(needs: Needs) -> list[str] | None:
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        # graphlib names whoever is needed first, and the first one twice.
        return _from_first(list(error.args[1][:0:-1]), list(needs))
    return None


def _from_first(cycle: list[str], order: list[str]) -> list[str]:
    """The cycle turned so that it begins with the step that stands first in the plan."""
    start = cycle.index(min(cycle, key=order.index))
    return cycle[start:] + cycle[:start]


def _without(needs: Needs, gone: Iterable[str]) -> Needs:
    left = dict.fromkeys(gone)
    return {
        step: [need for need in step_needs if need not in left]
        for step, step_needs in needs.items()
        if step not in left
    }


def levels(needs: Needs) -> tuple[tuple[str, ...], ...]:
    """Steps by the longest way to them."""
    level: dict[str, int] = {}
    for step in TopologicalSorter(needs).static_order():
        level[step] = max((level[need] + 1 for need in needs[step]), default=0)
    found: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for step in needs:
        found[level[step]].append(step)
    return tuple(map(tuple, found))


class Order:
    """Which steps come before which; sets of steps are integers, a bit for each step."""

    def __init__(self, needs: Needs) -> None:
        self.steps = tuple(needs)
        self.bit = {step: 1 << index for index, step in enumerate(needs)}
        self._before = dict.fromkeys(needs, 0)
        self._after = dict.fromkeys(needs, 0)
        sorted_steps = list(TopologicalSorter(needs).static_order())
        for step in sorted_steps:
            for need in needs[step]:
                self._before[step] |= self._before[need] | self.bit[need]
        for step in reversed(sorted_steps):
            for need in needs[step]:
                self._after[need] |= self._after[step] | self.bit[step]

    def waits(self, one: str, other: str) -> bool:
        """Whether `one` starts only when `other` has ended."""
        return bool(self._before[one] & self.bit[other])

    def unordered(self, step: str, others: int) -> str | None:
        """The first of `others` that neither waits for `step` nor is waited for."""
        free = others & ~(self._before[step] | self._after[step] | self.bit[step])
        return self.steps[(free & -free).bit_length() - 1] if free else None
