"""What `gc` finds, and what is to be done with it: decided here, looked up and done elsewhere."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from branchwork.durations import Duration, format_duration
from branchwork.models import Message
from branchwork.standing import Standing, why_left_over


class Kind(StrEnum):
    WORKTREE = "worktree"
    PROCESSES = "processes"
    REFS = "refs"
    RECORDS = "records"
    """The folder of a run's attempts: records, prompts, logs."""
    LOCK = "lock"
    ENTRY = "entry"
    """Git's own of a worktree, half made."""
    FILE = "file"
    """Half written."""
    TRASH = "trash"
    CLONE = "clone"
    """Of a repository by URL, on this host."""


class Doing(StrEnum):
    REMOVE = "remove"
    END = "end"
    LEAVE = "leave"


class Leftover(Message):
    """One thing that stands here, and that nobody may need any more."""

    kind: Kind
    what: str
    """Path, folder of refs, or process numbers."""
    doing: Doing
    reason: str
    """Why it is left over; or, of what is to be left, why that is not sure."""
    run: str | None = None
    step: str | None = None
    attempt: int | None = None
    repository: str | None = None
    since: datetime | None = None
    """Of the last sign of life."""
    size_bytes: int | None = None
    """What removing it gives back; memory, for processes."""
    keeps: str | None = None
    """The ref that its work is put on before it is removed, or one beside that."""
    refs: Mapping[str, str] = Field(default={}, exclude=True)
    """Of kind `refs`: what they hold."""


class Removal(Message):
    """What became of one thing that was to be removed."""

    leftover: Leftover
    is_done: bool
    became: str
    """How, or why it is still there."""


class Retention(Message):
    """For how long refs and records of ended runs stay."""

    keep_for: Duration
    now: datetime
    has_server: bool = True

    def is_over(self, since: datetime) -> bool:
        return self.now - since > self.keep_for


class Verdict(NamedTuple):
    is_left_over: bool
    reason: str


class Trace(NamedTuple):
    """What an attempt left on a host."""

    step: str
    attempt: int
    host: str
    since: datetime
    """Of its last sign of life."""


def judge_step(retention: Retention, standing: Standing | None, trace: Trace) -> Verdict | None:
    """Of a worktree or of processes; None if somebody may go on with them."""
    if standing is None:
        return _unknown(retention, trace.since)
    why = why_left_over(standing, trace.step, trace.attempt, trace.host)
    return Verdict(is_left_over=True, reason=why) if why else None


def judge_run(retention: Retention, standing: Standing | None, since: datetime) -> Verdict | None:
    """Of refs or records, the newest of which is from `since`; None if they are to stay."""
    if standing is None:
        return _unknown(retention, since)
    if standing.ended_at is None:
        return None
    last = max(standing.ended_at, since)
    if not retention.is_over(last):
        return None
    return Verdict(is_left_over=True, reason=f"its run ended {_ago(retention, standing.ended_at)}")


def _unknown(retention: Retention, since: datetime) -> Verdict:
    if not retention.has_server:
        return Verdict(is_left_over=False, reason="no server tells whether its run has ended")
    if retention.is_over(since):
        reason = f"the server does not know its run, and its newest is {_ago(retention, since)}"
        return Verdict(is_left_over=True, reason=reason)
    reason = "the server does not know its run, which may be under way on another server"
    return Verdict(is_left_over=False, reason=reason)


def _ago(retention: Retention, since: datetime) -> str:
    return f"{rounded(retention.now - since)} ago"


def rounded(age: timedelta) -> str:
    """In its largest unit: `3d`, `5h`."""
    seconds = max(0, int(age.total_seconds()))
    for unit in (86400, 3600, 60):
        if seconds >= unit:
            return format_duration(timedelta(seconds=seconds - seconds % unit))
    return f"{seconds}s"


def sized(size_bytes: int) -> str:
    """As people read it: `14.2 MB`."""
    size, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:  # noqa: PLR2004  # of the next unit
            break
        size, unit = size / 1000, larger
    return f"{size_bytes} B" if unit == "B" else f"{size:.1f} {unit}"


def line_of(leftover: Leftover, now: datetime) -> str:
    """What, of which run and step, how old, how large, what is done and where work goes."""
    parts = [
        leftover.doing.ljust(6),
        leftover.kind.ljust(9),
        leftover.what,
        _whose(leftover),
        f"{rounded(now - leftover.since)} old" if leftover.since else "",
        sized(leftover.size_bytes) if leftover.size_bytes is not None else "",
        leftover.reason,
        f"work to {leftover.keeps}" if leftover.keeps else "",
        f"in {leftover.repository}" if leftover.kind is Kind.REFS else "",
    ]
    return "  ".join(part for part in parts if part)


def sentence_of(found: Sequence[Leftover]) -> str:
    """How much there is, and what to do next."""
    left = [leftover for leftover in found if leftover.doing is Doing.LEAVE]
    more = f"; {len(left)} to be left alone" if left else ""
    if len(found) == len(left):
        return f"nothing is to be removed{more}"
    size = sum(leftover.size_bytes or 0 for leftover in found if leftover not in left)
    return f"{len(found) - len(left)} to be removed, {sized(size)}, by `branchwork gc --yes`{more}"


def _whose(leftover: Leftover) -> str:
    names = ("run", leftover.run), ("step", leftover.step), ("attempt", leftover.attempt)
    return " ".join(f"{name} {value}" for name, value in names if value is not None)
