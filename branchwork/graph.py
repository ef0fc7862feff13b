"""The graph of a plan, computed once: who waits for whom, and what is wrong with that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from branchwork.creators import Creators, Linked, unordered_creators
from branchwork.order import Needs, Order, cycles, levels
from branchwork.problems import Problem, nearest

__all__ = ["BadGraphError", "Graph", "Linked", "Problem", "build_graph", "nearest"]

_MOST_GUESSES = 20
"""Looking for near names among 2,000 steps takes 20 ms each time."""


@dataclass(frozen=True)
class Graph:
    """Edges in plan order, those that `requires` give included."""

    needs: Mapping[str, tuple[str, ...]]
    dependents: Mapping[str, tuple[str, ...]]
    levels: tuple[tuple[str, ...], ...]
    """Steps by the longest way to them: what could start together."""
    from_base: tuple[tuple[str, str], ...]
    """(step, path): a `requires` that no step creates, so the base must hold it."""
    warnings: tuple[Problem, ...]


class BadGraphError(Exception):
    """The steps make no graph; `problems` says why, each thing once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.text for problem in problems))
        self.problems = tuple(problems)


def build_graph(steps: Sequence[Linked]) -> Graph:
    """Raises BadGraphError for duplicate ids, unknown needs, cycles and unordered creators."""
    misnamed = [*_duplicates(steps), *_unknown_needs(steps)]
    required = Creators(steps).required()
    sure: dict[str, list[str]] = {step.id: [] for step in steps}
    for step in steps:
        sure[step.id] += [need for need in step.needs if need in sure]
    for ask in required:
        sure[ask.step] += ask.creators if ask.sure else ()
    _raise([*misnamed, *_cycles(steps, sure)])

    order = Order(sure)
    needs = {step: list(step_needs) for step, step_needs in sure.items()}
    for ask in required:
        needs[ask.step] += ask.needs(order)
    _raise(_cycles(steps, needs))

    same_file, same_folder = unordered_creators(steps, Order(needs))
    _raise(same_file)
    in_order = _in_plan_order(needs)
    return Graph(
        needs=in_order,
        dependents=_dependents(in_order),
        levels=levels(in_order),
        from_base=tuple((ask.step, ask.path) for ask in required if not ask.needs(order)),
        warnings=tuple(same_folder),
    )


def _raise(problems: Sequence[Problem]) -> None:
    if problems:
        raise BadGraphError(problems)


def _duplicates(steps: Sequence[Linked]) -> list[Problem]:
    first: dict[str, int] = {}
    problems = []
    for index, step in enumerate(steps):
        if first.setdefault(step.id, index) != index:
            text = f"step id {step.id!r} is taken by step {first[step.id] + 1} of the plan"
            problems.append(Problem(("steps", index, "id"), text))
    return problems


def _unknown_needs(steps: Sequence[Linked]) -> list[Problem]:
    known = {step.id: None for step in steps}
    unknown = [
        (("steps", index, "needs", position), step.id, need)
        for index, step in enumerate(steps)
        for position, need in enumerate(step.needs)
        if need not in known
    ]
    guesses = {need: nearest(need, known) for _, _, need in unknown[:_MOST_GUESSES]}
    return [
        Problem(
            where,
            f"step {step!r} needs {need!r}, which the plan does not define{guesses.get(need, '')}",
        )
        for where, step, need in unknown
    ]


def _cycles(steps: Sequence[Linked], needs: Needs) -> list[Problem]:
    index = {step.id: index for index, step in enumerate(steps)}
    return [
        Problem(_where_it_closes(steps, index[cycle[0]], cycle), _circle(cycle))
        for cycle in cycles(needs)
    ]


def _circle(cycle: Sequence[str]) -> str:
    if len(cycle) == 1:
        return f"step {cycle[0]!r} needs itself"
    return f"the steps wait for each other in a circle: {' → '.join([*cycle, cycle[0]])}"


def _where_it_closes(
    steps: Sequence[Linked], index: int, cycle: Sequence[str]
) -> tuple[str | int, ...]:
    """The first step's need in it; the step itself if a `requires` makes that need."""
    need = cycle[1 % len(cycle)]
    if need in steps[index].needs:
        return ("steps", index, "needs", steps[index].needs.index(need))
    return ("steps", index)


def _in_plan_order(needs: Needs) -> dict[str, tuple[str, ...]]:
    position = {step: index for index, step in enumerate(needs)}
    return {
        step: tuple(sorted(dict.fromkeys(found), key=position.__getitem__))
        for step, found in needs.items()
    }


def _dependents(needs: Needs) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {step: [] for step in needs}
    for step, step_needs in needs.items():
        for need in step_needs:
            found[need].append(step)
    return {step: tuple(dependents) for step, dependents in found.items()}
