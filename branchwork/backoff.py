"""How long to wait before the next attempt."""

from datetime import timedelta

from branchwork.plan import Retry

JITTER = 0.1
"""Waits are spread by ±10 %, so that steps which failed together do not come back together."""


def back_off(retry: Retry, attempt: int, chance: float) -> timedelta:
    """The wait after `attempt` (from 1) for a `chance` in [0, 1); never above `retry.maximum`."""
    grown = retry.initial.total_seconds() * retry.multiplier ** min(attempt - 1, 64)
    capped = min(grown, retry.maximum.total_seconds())
    jittered = capped * (1 + JITTER * (2 * chance - 1))
    return timedelta(seconds=min(jittered, retry.maximum.total_seconds()))
