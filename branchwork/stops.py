"""Why a run starts nothing more."""

from datetime import timedelta
from typing import NamedTuple

from branchwork.durations import format_duration
from branchwork.outcomes import Outcome


class Stop(NamedTuple):
    """What ends a run before all its steps have ended by themselves."""

    outcome: Outcome
    reason: str

    @property
    def reason_of_steps(self) -> str:
        """Why the steps that it cancels were cancelled."""
        cancelled = self.outcome is Outcome.CANCELLED
        return self.reason if cancelled else f"Cancelled: the run ended: {self.reason}"


def cancelled(why: str = "by request") -> Stop:
    return Stop(Outcome.CANCELLED, f"Cancelled: {why}")


def refused(why: str) -> Stop:
    return Stop(Outcome.FAILED, f"PlanRefused: {why}")


def overdue(deadline: timedelta) -> Stop:
    text = f"TimedOut: the run's deadline of {format_duration(deadline)} passed"
    return Stop(Outcome.TIMED_OUT, text)
