"""How a run's end is told to Temporal."""

import asyncio
from contextlib import suppress

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from branchwork.bounds import bounded
    from branchwork.contract import OUTCOME_MEMO, REPORT_MEMO
    from branchwork.outcomes import Outcome, RunReport
    from workflows.policies import MOST_MEMO_BYTES


async def close(report: RunReport) -> RunReport:
    """The run's result. One that was cancelled through Temporal ends as cancelled there too."""
    workflow.set_current_details(f"**{report.outcome}** · {report.reason or 'all is done'}")
    while not workflow.all_handlers_finished():
        with suppress(asyncio.CancelledError):
            await workflow.wait_condition(workflow.all_handlers_finished)
    if report.outcome is Outcome.CANCELLED and workflow.cancellation_reason() is not None:
        kept = bounded(report, MOST_MEMO_BYTES).model_dump(mode="json")
        workflow.upsert_memo({OUTCOME_MEMO: report.outcome, REPORT_MEMO: kept})
        raise asyncio.CancelledError(report.reason)
    workflow.upsert_memo({OUTCOME_MEMO: report.outcome})
    return report
