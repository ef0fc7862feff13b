"""What is told of an attempt's work, decided from reports and refs."""

from datetime import UTC, datetime
from typing import Any

import pytest

from branchwork.contract import AttemptEnd
from branchwork.errors import RefusedError
from branchwork.outcomes import Outcome, Status, StepReport
from branchwork.works import chosen_attempt, needs_history, work_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FIRST = "refs/branchwork/r/attempts/s/1"
SECOND = "refs/branchwork/r/attempts/s/2"
STEP = "refs/branchwork/r/steps/s"


def report(**fields: Any) -> StepReport:
    told = {"attempts": 2, "base": "b", "result": "r2", "outcome": Outcome.SUCCEEDED}
    return StepReport(step="s", agent="command", **{**told, **fields})


def ended(**fields: Any) -> AttemptEnd:
    told = {"outcome": Outcome.FAILED, "base": "b", "result": "r1", "kept": FIRST}
    return AttemptEnd(started_at=NOW, ended_at=NOW, **{**told, **fields})


def test_the_last_attempts_own_ref_is_named_before_that_of_the_step() -> None:
    assert work_of("r", report(), 2, None, {STEP: "r2", SECOND: "r2", FIRST: "r1"}).ref == SECOND
    assert work_of("r", report(), 2, None, {STEP: "r2", FIRST: "r1"}).ref == STEP


def test_an_earlier_attempt_is_told_by_its_own_end_and_never_has_the_steps_ref() -> None:
    work = work_of("r", report(), 1, ended(reason="AgentFailed: exit 3"), {STEP: "r2", FIRST: "r1"})

    assert (work.outcome, work.reason, work.result) == ("failed", "AgentFailed: exit 3", "r1")
    assert work.ref == FIRST
    gone = work_of("r", report(), 1, ended(), {STEP: "r2"})
    assert (gone.ref, gone.why_no_ref) == (None, f"{FIRST} is not there any more")


def test_refs_beside_are_those_of_this_attempt_alone() -> None:
    refs = dict.fromkeys([FIRST, f"{FIRST}.aside-c0ffee", f"{FIRST}0.aside-c0ffee", STEP], "c")

    assert work_of("r", report(), 1, ended(), refs).refs_beside == (f"{FIRST}.aside-c0ffee",)


@pytest.mark.parametrize(
    ("fields", "end", "why"),
    [
        ({"outcome": Outcome.FAILED, "result": "b"}, None, "the attempt left no work"),
        ({"outcome": Outcome.FAILED, "result": None}, None, "the attempt left no work"),
        ({"outcome": Outcome.FAILED, "kept": SECOND}, None, f"{SECOND} is not there any more"),
        ({"attempts": 0, "outcome": Outcome.SKIPPED, "result": None}, None, "the step has not run"),
        (
            {"outcome": None, "status": Status.RUNNING, "result": None},
            None,
            "the attempt is under way; its work is put on a ref when it ends",
        ),
        (
            {"outcome": None, "status": Status.BACKING_OFF, "result": None},
            ended(kept=None, result="b"),
            "the attempt left no work",
        ),
    ],
)
def test_an_attempt_without_a_ref_says_why(
    fields: dict[str, Any], end: AttemptEnd | None, why: str
) -> None:
    step = report(**fields)

    assert work_of("r", step, step.attempts, end, {}).why_no_ref == why


def test_where_refs_cannot_be_read_those_of_the_report_are_named() -> None:
    failed = report(outcome=Outcome.FAILED, kept=SECOND)

    assert work_of("r", report(), 2, None, None).ref == STEP
    assert work_of("r", failed, 2, None, None).ref == SECOND
    assert work_of("r", report(), 1, ended(), None).ref == FIRST


def test_the_history_is_read_only_for_what_the_report_does_not_tell() -> None:
    assert not needs_history(report(), 2)
    assert needs_history(report(), 1)
    assert needs_history(report(base=None, outcome=None, status=Status.BACKING_OFF), 2)
    assert not needs_history(report(attempts=0, base=None), 0)


def test_an_attempt_that_there_was_not_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"had 2 attempts; see `branchwork show r s`"):
        chosen_attempt("r", report(), 3)
    with pytest.raises(RefusedError, match=r"`branchwork show old s --attempt 1`"):
        chosen_attempt("r", report(attempts=0, reused="old"), 1)
