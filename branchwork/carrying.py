"""What a run takes along when its history is continued in a new one."""

from collections.abc import Mapping
from datetime import datetime

from branchwork.bounds import lightened
from branchwork.limits import size_of
from branchwork.models import Message
from branchwork.outcomes import StepReport


class Carried(Message):
    """Where a run stands at a moment when no attempt is under way."""

    base: str
    """The pinned commit."""
    started_at: datetime
    """When the run started, however many histories it has had since."""
    paused: bool = False
    steps: tuple[StepReport, ...] = ()
    """In plan order; of the others there is nothing to tell yet."""
    due: Mapping[str, datetime] = {}
    """By step between two attempts: when the next may start."""
    totals: Mapping[str, datetime] = {}
    """By step whose attempts are limited together: when its time is over."""
    lost: tuple[str, ...] = ()
    """Steps whose outputs were too large to be taken along, though others wait for them."""


def bounded_carried(carried: Carried, needed: frozenset[str], most_bytes: int) -> Carried:
    """`carried` in no more than that: outputs that only the report tells are left out first.

    `needed` are steps whose outputs others wait for.
    """
    # A comma for each step.
    rest = size_of(carried.model_copy(update={"steps": ()})) + len(carried.steps)
    most_of_steps = most_bytes - rest
    steps = lightened(carried.steps, most_of_steps, spared=needed)
    steps = lightened(steps, most_of_steps)
    left_out = {step.step for step in carried.steps if step.output} - {
        step.step for step in steps if step.output
    }
    lost = [step.step for step in steps if step.step in needed & left_out]
    return carried.model_copy(update={"steps": steps, "lost": (*carried.lost, *lost)})
