"""Which steps create what: the edges that `requires` gives, and who is in whose way."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from branchwork.order import Order
from branchwork.paths import overlap, parents, plain
from branchwork.problems import Problem


class Linked(Protocol):
    """What the graph sees of a step."""

    @property
    def id(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def requires(self) -> tuple[str, ...]: ...
    @property
    def creates(self) -> tuple[str, ...]: ...


class Required(NamedTuple):
    """One path of one step's `requires`, and who may have to create it before."""

    step: str
    path: str
    creators: tuple[str, ...]
    sure: bool
    """Whether the step waits for them in any case; else only for those that do not wait for it."""

    def needs(self, order: Order) -> list[str]:
        return [one for one in self.creators if self.sure or not order.waits(one, self.step)]


class Creators:
    """Which steps create a path, by what the plan says."""

    def __init__(self, steps: Sequence[Linked]) -> None:
        self._steps = steps
        self._at = _index((step, [plain(path)]) for step, path in _created(steps))
        self._within = _index((step, parents(plain(path))) for step, path in _created(steps))
        self._requiring = _index((step, [plain(path)]) for step in steps for path in step.requires)

    def required(self) -> list[Required]:
        return [self._of(step, path) for step in self._steps for path in step.requires]

    def _of(self, step: Linked, written: str) -> Required:
        """Creators of the path or of a folder around it; else of something in it.

        A step that itself creates there edits what it requires. It waits neither
        for those which come after it, nor for others that edit the same path,
        nor, in a folder, for others that create something else in it.
        """
        path = plain(written)
        within = self._within.get(path, {})
        around = self._around(path)
        edits = step.id in around or step.id in within
        if edits:
            same_edit = self._editors(path) if step.id in self._at.get(path, {}) else {}
            creators = [one for one in around if one != step.id and one not in same_edit]
        else:
            creators = list(around or within)
        return Required(step.id, written, tuple(creators), sure=bool(around) and not edits)

    def _around(self, path: str) -> dict[str, None]:
        places = (path, *parents(path))
        return {step: None for place in places for step in self._at.get(place, ())}

    def _editors(self, path: str) -> dict[str, None]:
        requiring = self._requiring.get(path, {})
        return {step: None for step in self._at.get(path, ()) if step in requiring}


def unordered_creators(
    steps: Sequence[Linked], order: Order
) -> tuple[list[Problem], list[Problem]]:
    """Steps that create the same file, and such that create in the same folder, without order.

    One problem a path at most, at the later of two steps.
    """
    places = _Places(order)
    files, folders = [], []
    for index, step in enumerate(steps):
        for position, path in enumerate(step.creates):
            where = ("steps", index, "creates", position)
            if other := order.unordered(step.id, places.same_file(path)):
                files.append(Problem(where, _same_file(other, step.id, path)))
            elif other := order.unordered(step.id, places.overlapping(path)):
                text = _same_folder(steps[order.steps.index(other)], step, path)
                folders.append(Problem(where, text))
        places.add(step)
    return files, folders


class _Places:
    """Who creates what, among the steps seen so far; as bits of an `Order`."""

    def __init__(self, order: Order) -> None:
        self._bit = order.bit
        self._files: dict[str, int] = {}
        self._at: dict[str, int] = {}
        self._within: dict[str, int] = {}

    def add(self, step: Linked) -> None:
        bit = self._bit[step.id]
        for written in step.creates:
            path = plain(written)
            self._at[path] = self._at.get(path, 0) | bit
            if not written.endswith("/"):
                self._files[path] = self._files.get(path, 0) | bit
            for folder in parents(path):
                self._within[folder] = self._within.get(folder, 0) | bit

    def same_file(self, path: str) -> int:
        return 0 if path.endswith("/") else self._files.get(plain(path), 0)

    def overlapping(self, written: str) -> int:
        path = plain(written)
        found = self._within.get(path, 0)
        for place in (path, *parents(path)):
            found |= self._at.get(place, 0)
        return found


def _same_file(one: str, other: str, path: str) -> str:
    return (
        f"steps {one!r} and {other!r} both create {path!r} with no order between them;"
        " let one need the other"
    )


def _same_folder(one: Linked, other: Linked, path: str) -> str:
    theirs = next(place for place in one.creates if overlap(plain(place), plain(path)))
    return (
        f"steps {one.id!r} ({theirs}) and {other.id!r} ({path}) create in the same folder"
        " with no order between them; what they both write may conflict"
    )


def _created(steps: Iterable[Linked]) -> Iterator[tuple[Linked, str]]:
    return ((step, path) for step in steps for path in step.creates)


def _index(places: Iterable[tuple[Linked, list[str]]]) -> Mapping[str, dict[str, None]]:
    """Steps by place, in plan order."""
    found: dict[str, dict[str, None]] = {}
    for step, step_places in places:
        for place in step_places:
            found.setdefault(place, {})[step.id] = None
    return found
