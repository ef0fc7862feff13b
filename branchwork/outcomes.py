"""How things stand and how they end: the words and the records of it."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import computed_field

from branchwork.models import Message


class Status(StrEnum):
    """Where a step or run that has not ended stands."""

    WAITING = "waiting"
    """A need has not ended."""
    READY = "ready"
    """All needs succeeded; no slot yet."""
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    """Between two attempts; the slot is given back."""
    PAUSED = "paused"
    """The run starts no new attempts until it is resumed."""


class Outcome(StrEnum):
    """How a step or run ended, for good."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class StepReport(Message):
    """How one step stands or ended. `status` is None once `outcome` is there."""

    step: str
    agent: str
    outcome: Outcome | None = None
    status: Status | None = None
    attempts: int = 0
    """Attempts started so far."""
    base: str | None = None
    """Commit the last attempt started from."""
    result: str | None = None
    """Commit the step ended with; for an attempt that did not succeed, the work that was kept."""
    started_at: datetime | None = None
    """When the last attempt had its slot."""
    ended_at: datetime | None = None
    reason: str | None = None
    """Why it did not succeed, as `Name: sentence`; None for a success."""
    output: Mapping[str, Any] | None = None
    """The JSON object that the agent wrote."""
    kept: str | None = None
    """Ref that keeps the work of the last attempt where it is not on the step's own ref."""
    reused: str | None = None
    """The run whose result was taken over; then there was no attempt in this one."""
    changed: tuple[str, ...] = ()
    """Paths that differ from the base, sorted; of many, a last entry says `… and 12 more`."""

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented order of the two
    @property
    def duration_seconds(self) -> float | None:
        """From `started_at` to `ended_at`."""
        if self.started_at is None or self.ended_at is None:
            return None
        return round((self.ended_at - self.started_at).total_seconds(), 3)


class RunReport(Message):
    """How a run stands or ended; its steps in plan order."""

    run: str
    plan: str
    outcome: Outcome | None = None
    status: Status | None = None
    base: str | None = None
    result: str | None = None
    """Commit of the result branch."""
    branch: str | None = None
    """The result branch; None until it is landed."""
    started_at: datetime
    ended_at: datetime | None = None
    reason: str | None = None
    steps: tuple[StepReport, ...] = ()
