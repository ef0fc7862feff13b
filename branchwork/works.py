"""What is known of one attempt of a step, and how to get at its work."""

from collections.abc import Mapping
from datetime import datetime

from branchwork.contract import AttemptEnd
from branchwork.errors import RefusedError
from branchwork.models import Message
from branchwork.names import attempt_ref, step_ref
from branchwork.outcomes import Outcome, StepReport


class Work(Message):
    """One attempt of a step, the last if none was asked for."""

    run: str
    step: str
    agent: str
    attempt: int
    """0 for a step of which none was started."""
    attempts: int
    outcome: Outcome | None
    """The attempt's; of the step if nothing tells the attempt's own."""
    status: str | None
    """Of the step; None once that has ended."""
    reason: str | None
    reused: str | None
    """The run whose result was taken over."""
    base: str | None
    result: str | None
    started_at: datetime | None
    ended_at: datetime | None
    changed: tuple[str, ...]
    ref: str | None
    """Holds the attempt's work."""
    why_no_ref: str | None
    refs_beside: tuple[str, ...]
    """Hold what the attempt left besides: work of earlier tries, commits that left the base."""


def work_of(
    run: str,
    report: StepReport,
    attempt: int,
    end: AttemptEnd | None,
    refs: Mapping[str, str] | None,
) -> Work:
    """`end` is what the attempt itself told, if that is known; `refs` are the step's.

    Where refs cannot be read, None, those that the reports name are taken for there.
    """
    is_last = attempt == report.attempts
    told = end or (report if is_last else None)
    if refs is None:
        refs = _named_refs(run, report, told)
    ref = _ref(run, report, attempt, refs)
    return Work(
        run=run,
        step=report.step,
        agent=report.agent,
        attempt=attempt,
        attempts=report.attempts,
        outcome=told.outcome if told else None,
        status=report.status,
        reason=told.reason if told else None,
        reused=report.reused,
        base=told.base if told else None,
        result=told.result if told else refs.get(ref or ""),
        started_at=told.started_at if told else None,
        ended_at=told.ended_at if told else None,
        changed=told.changed if told else (),
        ref=ref,
        why_no_ref=None if ref else _why_none(report, end, is_last=is_last),
        refs_beside=tuple(
            beside
            for beside in refs
            if beside.startswith(f"{attempt_ref(run, report.step, attempt)}.")
        ),
    )


def chosen_attempt(run: str, report: StepReport, wanted: int | None) -> int:
    """Raises RefusedError for an attempt that there was not."""
    if wanted is None:
        return report.attempts
    if report.reused:
        raise RefusedError(
            f"step {report.step!r} did not run in {run}, it was taken over:"
            f" `branchwork show {report.reused} {report.step} --attempt {wanted}`"
        )
    if wanted > report.attempts:
        raise RefusedError(
            f"step {report.step!r} of {run} had {report.attempts} attempts;"
            f" see `branchwork show {run} {report.step}`"
        )
    return wanted


def needs_history(report: StepReport, attempt: int) -> bool:
    """Whether the report does not tell how the attempt ended."""
    return attempt > 0 and (attempt < report.attempts or report.base is None)


def _named_refs(
    run: str, report: StepReport, told: AttemptEnd | StepReport | None
) -> Mapping[str, str]:
    if told is None or told.result is None:
        return {}
    if told.outcome is Outcome.SUCCEEDED:
        return {step_ref(run, report.step): told.result}
    return {told.kept: told.result} if told.kept else {}


def _ref(run: str, report: StepReport, attempt: int, refs: Mapping[str, str]) -> str | None:
    own, step = attempt_ref(run, report.step, attempt), step_ref(run, report.step)
    if own in refs:
        return own
    is_result = attempt == report.attempts and report.outcome is Outcome.SUCCEEDED
    return step if is_result and step in refs else None


def _why_none(report: StepReport, end: AttemptEnd | None, *, is_last: bool) -> str:
    if not report.attempts and not report.reused:
        return "the step has not run"
    if is_last and end is None and report.outcome is None:
        return "the attempt is under way; its work is put on a ref when it ends"
    told = end or (report if is_last else None)
    kept = told and (told.kept or (told.result != told.base and told.result))
    if kept:
        return f"{kept} is not there any more"
    return "the attempt left no work"
