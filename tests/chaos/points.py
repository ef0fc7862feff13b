"""The table of kill points: where, when, who, and by which signal.

Each is struck by the git call or the agent that it names, and so at an exact instant
of a run, whatever the load of the machine.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, get_args

from chaos.strike import arm, arm_later

When = Literal["before", "midst", "orphan", "after", "began", "unremoved", "unreported", "reached"]
Place = Literal["base", "step", "land"]

PAUSE_SECONDS = 5.0
"""A worker that is stopped for so long is lost in the meantime."""


@dataclass(frozen=True)
class Phase:
    """A git call of the way of a run, told by its command and what it is called with."""

    name: str
    place: Place
    command: str
    pattern: str = ""
    """With `{step}` for the step's id. Matched against the arguments, and stdin after a newline."""
    after: str = ""
    """Armed only when the agent of this step ends: `before`, the last need, or `last`."""


PHASES = (
    Phase("base looked up", "base", "for-each-ref", "/base"),
    Phase("base resolved", "base", "rev-parse", r"\^\{{commit\}}"),
    Phase("base pinned", "base", "update-ref", "/base\0"),
    Phase("needs compared", "step", "merge-base", "--independent", after="before"),
    Phase("needs merged", "step", "merge-tree", after="before"),
    Phase("merge committed", "step", "commit-tree", "base of {step}$"),
    Phase("worktree entered", "step", "worktree", "add .*/{step} "),
    Phase("checkout", "step", "reset", "/{step} "),
    Phase("work looked at", "step", "status", "/{step} "),
    Phase("files stored", "step", "update-index", "/{step} "),
    Phase("tree stored", "step", "write-tree", "/{step} "),
    Phase("work committed", "step", "commit-tree", "\n{step}: "),
    # Not the look at what all steps create, at the run's start.
    Phase("work judged", "step", "cat-file", r"(?s)\A(?!.*out/(?!{step}\.)).*out/{step}\."),
    Phase("failure published", "step", "update-ref", "attempts/{step}/"),
    Phase("step published", "step", "update-ref", "steps/{step}\0"),
    Phase("landing merged", "land", "merge-tree", after="last"),
    Phase("landing committed", "land", "commit-tree", "Steps: "),
    Phase("landing published", "land", "update-ref", "refs/heads/branchwork/"),
    # Where the repository is a URL.
    Phase("clone made", "base", "fetch", "partial.git"),
    Phase("base pushed", "base", "push", "/base"),
    Phase("work pushed", "step", "push", "steps/{step}"),
    Phase("landing pushed", "land", "push", "refs/heads/branchwork/"),
)
_PHASE = {phase.name: phase for phase in PHASES}
_AGENT = ("agent started", "agent midway", "agent ending")
_NAMES = [phase.name for phase in PHASES]
_ENDED = _NAMES.index("work looked at")
_ORDER = [*_NAMES[:_ENDED], *_AGENT, *_NAMES[_ENDED:]]
_STAGE = dict(zip(_AGENT, ("start", "middle", "end"), strict=True))


@dataclass(frozen=True)
class Point:
    phase: str
    when: When
    victims: tuple[str, ...]
    signal: str = "SIGKILL"
    successor: bool = False
    """Whether another worker takes the place of one that is stopped, before it goes on."""
    seconds: float = 0.3
    """How long the agent of its step works."""
    for_good: bool = False
    pause: float = PAUSE_SECONDS
    until_done: bool = False
    """Whether one that is stopped stays so until another host has done its step."""

    @property
    def name(self) -> str:
        beside = ", with a successor" if self.successor else ""
        beside += ", for good" if self.for_good else ""
        long = ", long agent" if self.seconds > 1 else ""
        victims = " and ".join(self.victims)
        return f"{self.phase}, {self.when}{long}: {self.signal} of {victims}{beside}"

    @property
    def order(self) -> tuple[int, bool, int]:
        """Of two points at one step, the later one is still met after the earlier one."""
        return _ORDER.index(self.phase), self._lets_go_on, get_args(When).index(self.when)

    @property
    def _lets_go_on(self) -> bool:
        """Whether what it interrupts is done all the same, and so not done again."""
        is_done = self.when in ("unremoved", "unreported")
        return is_done or self.victims == ("server",) or self.signal != "SIGKILL"

    @property
    def traits(self) -> tuple[str, ...]:
        """What the agent of its step must be like for it to be reached."""
        return ("fails",) if self.phase == "failure published" else ()

    @property
    def place(self) -> Place:
        return "step" if self.phase in _AGENT else _PHASE[self.phase].place

    def arm(self, world: Path, order: int, step: str, *, before: str, last: str) -> None:
        """For `step`, whose last need is `before`, of a plan whose last step is `last`."""
        point = {**asdict(self), "name": f"{order:02} {self.name}", "point": self.name}
        point |= {"step": step}
        if self.phase in _AGENT:
            arm(world, f"{step}.{_STAGE[self.phase]}", point)
            return
        phase = _PHASE[self.phase]
        point["pattern"] = phase.pattern.format(step=step)
        if phase.after:
            stage = {"before": before, "last": last}[phase.after]
            arm_later(world, f"{stage}.end", phase.command, point)
        else:
            arm(world, phase.command, point)


def _each(
    phases: Iterable[str],
    whens: Iterable[When],
    *victims: str,
    signal: str = "SIGKILL",
    successor: bool = False,
    seconds: float = 0.3,
) -> Iterator[Point]:
    listed = [*whens]
    for phase in phases:
        for when in listed:
            yield Point(phase, when, victims, signal, successor, seconds)


_WRITING = ("worktree entered", "checkout", "failure published", "step published")
_KEEPING = ("files stored", "tree stored", "work committed")
_PUBLISHING = ("base pinned", "step published", "landing published")
_BOUNDARIES = ("checkout", "work committed", "step published", "landing published")

POINTS: tuple[Point, ...] = tuple(
    chain(
        # The worker, around everything that it asks of git.
        _each(("base looked up", "base resolved"), ("before",), "worker"),
        _each(("base pinned",), ("before", "midst", "after"), "worker"),
        _each(("needs compared", "needs merged"), ("before", "after"), "worker"),
        _each(("merge committed",), ("before", "midst", "after"), "worker"),
        _each(_WRITING, ("before", "midst", "orphan", "after"), "worker"),
        _each(("checkout",), ("began",), "worker"),
        _each(("work looked at", "work judged"), ("before", "after"), "worker"),
        _each(_KEEPING, ("before", "midst", "orphan", "after"), "worker"),
        _each(("step published",), ("unremoved", "unreported"), "worker"),
        _each(("landing merged",), ("before",), "worker"),
        _each(("landing committed",), ("before", "midst"), "worker"),
        _each(("landing published",), ("before", "midst", "orphan", "after"), "worker"),
        # The worker, while an agent works; it goes on, ends, or is stubborn meanwhile.
        _each(_AGENT, ("reached",), "worker"),
        _each(("agent midway",), ("reached",), "worker", seconds=8),
        # The server; both; the whole machine.
        _each(_PUBLISHING, ("before", "after"), "server"),
        _each(("checkout", "work committed"), ("before",), "server"),
        _each(("agent midway",), ("reached",), "server"),
        _each(_BOUNDARIES, ("before",), "server", "worker"),
        _each(("agent midway",), ("reached",), "server", "worker"),
        _each(("step published", "landing published"), ("after",), "server", "worker"),
        _each(_BOUNDARIES, ("midst",), "machine"),
        _each(("agent midway",), ("reached",), "machine"),
        # The agent alone.
        _each(_AGENT, ("reached",), "agent"),
        # A worker that is told to stop, and one that is stopped and comes back.
        _each(_BOUNDARIES, ("before",), "worker", signal="SIGTERM"),
        _each(("agent midway",), ("reached",), "worker", signal="SIGTERM"),
        _each(("agent midway",), ("reached",), "worker", signal="SIGTERM", seconds=8),
        _each(_BOUNDARIES, ("before",), "worker", signal="SIGSTOP"),
        _each(("agent midway",), ("reached",), "worker", signal="SIGSTOP"),
        _each(_BOUNDARIES[:3], ("before",), "worker", signal="SIGSTOP", successor=True),
        _each(("agent midway",), ("reached",), "worker", signal="SIGSTOP", successor=True),
    )
)


_LOST = {"signal": "SIGKILL", "for_good": True}
HOST_POINTS: tuple[Point, ...] = (
    Point("clone made", "before", ("host",), **_LOST),
    Point("base pushed", "after", ("host",), **_LOST),
    Point("worktree entered", "after", ("host",), **_LOST),
    Point("checkout", "began", ("host",), **_LOST),
    Point("agent midway", "reached", ("host",), **_LOST),
    Point("work committed", "after", ("host",), **_LOST),
    Point("step published", "before", ("host",), **_LOST),
    Point("step published", "after", ("host",), **_LOST),
    Point("work pushed", "before", ("host",), **_LOST),
    Point("work pushed", "after", ("host",), **_LOST),
    Point("landing pushed", "before", ("host",), **_LOST),
    Point("landing pushed", "after", ("host",), **_LOST),
)
"""A host that is gone for good, in each phase; another one finishes."""

_BACK = {"signal": "SIGSTOP", "until_done": True}
ZOMBIE_POINTS: tuple[Point, ...] = (
    Point("checkout", "before", ("worker",), **_BACK),
    Point("work committed", "before", ("worker",), **_BACK),
    Point("step published", "before", ("worker",), **_BACK),
    Point("work pushed", "before", ("worker",), **_BACK),
    Point("landing pushed", "before", ("worker",), **_BACK),
)
"""A worker that is taken for lost and comes back when another host has gone over its step."""
