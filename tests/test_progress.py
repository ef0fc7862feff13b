"""What is ready, stranded, landed and told, decided without a server."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from branchwork.backoff import back_off
from branchwork.bounds import bounded
from branchwork.contract import AttemptEnd, Need, Reused
from branchwork.judging import judge
from branchwork.outcomes import Outcome, RunReport, Status, StepReport
from branchwork.plan import Retry, Step
from branchwork.progress import Progress
from scripted import plan_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def end(outcome: Outcome, result: str = "r") -> AttemptEnd:
    return AttemptEnd(outcome=outcome, result=result, started_at=NOW, ended_at=NOW)


def progress_of(steps: dict[str, Any], **ends: Outcome) -> Progress:
    progress = Progress(plan_of(steps, on_failure="continue"))
    for step, outcome in ends.items():
        progress.end(step, end(outcome, result=f"result of {step}"))
    return progress


def test_only_steps_whose_needs_all_succeeded_are_ready() -> None:
    steps = {"a": "", "b": "", "c": "a b", "d": "a"}

    progress = progress_of(steps, a=Outcome.SUCCEEDED)

    assert [step.id for step in progress.ready(steps)] == ["b", "d"]
    assert [step.id for step in progress.freed_by("a")] == ["d"]


def test_the_leaves_of_what_succeeded_leave_out_what_others_build_on() -> None:
    steps = {"a": "", "b": "a", "c": "a", "d": "b"}

    progress = progress_of(
        steps, a=Outcome.SUCCEEDED, b=Outcome.SUCCEEDED, c=Outcome.SUCCEEDED, d=Outcome.FAILED
    )

    assert [leaf.step for leaf in progress.leaves()] == ["b", "c"]


def test_needs_are_handed_on_in_plan_order_with_their_commits() -> None:
    steps = {"z": "", "a": "", "join": "a z"}

    progress = progress_of(steps, a=Outcome.SUCCEEDED, z=Outcome.SUCCEEDED)

    assert [(need.step, need.commit) for need in progress.needs_of("join")] == [
        ("z", "result of z"),
        ("a", "result of a"),
    ]


def test_a_step_taken_over_has_succeeded_from_the_start_and_hands_on_its_result() -> None:
    reused = Reused(step="a", commit="c0ffee", run="old", base="b", output={"n": 1})

    progress = Progress(plan_of({"a": "", "b": "a"}), [reused])

    report = progress["a"]
    assert (report.outcome, report.reused, report.attempts) == (Outcome.SUCCEEDED, "old", 0)
    assert [step.id for step in progress.ready("ab")] == ["b"]
    assert progress.needs_of("b") == (Need(step="a", commit="c0ffee", output={"n": 1}),)
    assert progress.counts() == "1 of 2 steps ended, 0 running"


def test_a_step_that_has_ended_stays_as_it_ended() -> None:
    progress = progress_of({"a": ""}, a=Outcome.FAILED)

    progress.move("a", Status.RUNNING)

    assert progress["a"].outcome is Outcome.FAILED
    assert progress["a"].status is None


def test_counts_tell_what_has_ended_and_what_runs() -> None:
    progress = progress_of({"a": "", "b": "a", "c": ""}, a=Outcome.FAILED)

    progress.move("c", Status.RUNNING)
    running = progress.counts()
    progress.end("c", end(Outcome.SUCCEEDED))

    assert running == "2 of 3 steps ended, 1 running"
    assert progress.counts() == "3 of 3 steps ended, 0 running"


def test_the_reason_of_a_run_names_what_failed_before_what_was_skipped() -> None:
    progress = progress_of({"x": "b", "b": ""}, b=Outcome.TIMED_OUT)

    assert progress.failure_reason() == "step 'b' timed out: None"


def test_a_report_too_large_to_send_loses_its_largest_outputs_and_says_so() -> None:
    large = StepReport(step="large", agent="a", output={"text": "x" * 9000})
    small = StepReport(step="small", agent="a", output={"text": "x"})
    report = RunReport(run="r", plan="p", started_at=NOW, steps=(large, small))

    sent = bounded(report, 4000)

    assert sent.steps[0].output is None
    assert "left out" in (sent.steps[0].reason or "")
    assert sent.steps[1] == small
    assert bounded(report, 40_000) == report


def test_a_report_is_bounded_in_bytes_and_by_its_reasons_too() -> None:
    steps = tuple(
        StepReport(step=f"s{number}", agent="a", reason="ü" * 4000) for number in range(500)
    )
    report = RunReport(run="r", plan="p", started_at=NOW, steps=steps)

    sent = bounded(report, 1_500_000)
    tiny = bounded(report, 10_000)

    assert len(sent.model_dump_json().encode()) <= 1_500_000
    assert len(sent.steps) == 500
    assert tiny.steps == ()


def test_waits_grow_by_the_multiplier_up_to_the_maximum_jitter_included() -> None:
    retry = Retry.model_validate({"initial": "1s", "maximum": "10s", "multiplier": 2})

    waits = [back_off(retry, attempt, 0.5).total_seconds() for attempt in range(1, 7)]
    highest = max(back_off(retry, 9, chance / 100) for chance in range(100))

    assert waits == [1, 2, 4, 8, 10, 10]
    assert highest == timedelta(seconds=10)
    assert back_off(retry, 1, 0.0) == timedelta(seconds=0.9)
    assert back_off(retry, 100_000, 0.5) == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("step", "found", "name"),
    [
        ({"creates": ["a"]}, {"changed": ["a"], "missing": ["a"]}, "MissingArtifact"),
        ({"creates": ["a"]}, {"changed": ["b"], "unchanged": ["a"]}, "NoChanges"),
        ({"creates": ["a"]}, {"changed": ["a", "b"]}, None),
        ({"expect": "changes"}, {}, "NoChanges"),
        ({"expect": "nothing"}, {"changed": ["b"]}, "UnexpectedChanges"),
        ({"expect": "nothing"}, {}, None),
        ({}, {}, None),
    ],
)
def test_a_step_is_judged_by_what_its_worktree_holds(
    step: dict[str, Any], found: dict[str, list[str]], name: str | None
) -> None:
    written = Step.model_validate({"id": "s", "run": "true", **step})

    verdict = judge(written, **{"changed": [], "missing": [], "unchanged": [], **found})

    assert (verdict.name if verdict else None) == name
