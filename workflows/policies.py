"""Timeouts and retry policies, by name. The reasons stand in docs/decisions.md."""

from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from branchwork.contract import WORK_HELD, WORKER_SHUTDOWN

CLOSING_TIME = timedelta(minutes=15)
"""What an attempt may take beside its agent: worktree, merge, judging, keeping, removing."""

REPOSITORY_TIME = timedelta(hours=1)
"""For `resolve_base` and `land_run`, all tries together: git on one repository, on a slow disk."""

MACHINERY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
)
"""For faults of the machinery: without a limit of attempts, because shutdowns count as such."""

ATTEMPT = replace(
    MACHINERY,
    non_retryable_error_types=["TemporalTimeout:Heartbeat", WORKER_SHUTDOWN, WORK_HELD],
)
"""Who goes on with an attempt that one host alone has begun is for the workflow to choose."""

MOST_REPORT_BYTES = 1_500_000
"""Temporal refuses payloads over 2 MB, for ever."""

MOST_MESSAGE_BYTES = 2_000_000
"""Of what is sent at once; with another request of the most bytes it is still below 4 MB."""

MOST_CARRIED_BYTES = 1_900_000
"""Of what one history hands to the next: a payload, and with the request within one message."""

LONG_EVENTS = 30_000
LONG_BYTES = 30_000_000
"""A history this long starts no more attempts: those under way must still find room in it. Temporal
ends a run at 51,200 events or 50 MB; 500 attempts that end take 3,000 events."""

PATIENCE_EVENTS = 1_000
"""Before a run whose outputs do not fit is looked at again: steps that end need none."""

MOST_MEMO_BYTES = 200_000
"""Lists of runs carry every run's memo."""
