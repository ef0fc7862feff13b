"""When a run's history is long enough to be continued in a new one.

An activity under way would be lost with its history. So a run goes over when none is;
Temporal suggests it early enough (at 4,096 events, 4 MB or 1,800 updates) for most runs to
come to such a moment by themselves. One that never does is brought to it.
"""

from typing import NoReturn

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from branchwork.carrying import Carried
    from branchwork.contract import STARTED_MEMO, RunRequest
    from workflows.policies import LONG_BYTES, LONG_EVENTS


def should_go_over() -> bool:
    return workflow.info().is_continue_as_new_suggested() or must_go_over()


def must_go_over() -> bool:
    """Whether waiting for a good moment any longer could end the run by Temporal's limits."""
    info = workflow.info()
    events, size = info.get_current_history_length(), info.get_current_history_size()
    return events > LONG_EVENTS or size > LONG_BYTES


def go_over(request: RunRequest, carried: Carried) -> NoReturn:
    """End this history and go on in a new one, under the run's id."""
    # Temporal tells for a run when its last history began.
    memo = {**workflow.memo(), STARTED_MEMO: carried.started_at.isoformat()}
    workflow.continue_as_new(args=[request, carried], memo=memo)
