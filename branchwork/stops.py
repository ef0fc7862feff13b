"""Why a run starts nothing more, or one of its steps is ended."""

from datetime import timedelta
from typing import NamedTuple

from branchwork.durations import format_duration
from branchwork.limits import shortened
from branchwork.outcomes import Outcome


class Stop(NamedTuple):
    """What ends a run, or a step, before it has ended by itself."""

    outcome: Outcome
    reason: str

    @property
    def of_steps(self) -> "Stop":
        """What this end of a run is for the steps that run."""
        if self.outcome is Outcome.CANCELLED:
            return self
        return Stop(Outcome.CANCELLED, shortened(f"Cancelled: the run ended: {self.reason}"))


def cancelled(why: str = "by request") -> Stop:
    return Stop(Outcome.CANCELLED, shortened(f"Cancelled: {why}"))


def refused(why: str) -> Stop:
    return Stop(Outcome.FAILED, shortened(f"PlanRefused: {why}"))


def overdue(deadline: timedelta) -> Stop:
    text = f"TimedOut: the run's deadline of {format_duration(deadline)} passed"
    return Stop(Outcome.TIMED_OUT, text)


def total_passed(total: timedelta) -> Stop:
    text = f"TimedOut: the step's total of {format_duration(total)} for all its attempts passed"
    return Stop(Outcome.TIMED_OUT, text)
