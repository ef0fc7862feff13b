"""How a run looks in a terminal."""

from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console

from branchwork.cli.view import drawn, harmless, lines_between, summary
from branchwork.contract import Pulse
from branchwork.outcomes import Outcome, RunReport, Status, StepReport
from branchwork.sights import Activity, Loss, Lost, Sight

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = START + timedelta(seconds=90)


def step(name: str, **fields: Any) -> StepReport:
    return StepReport(step=name, agent="coder", **fields)


def sight_of(*steps: StepReport, **fields: Any) -> Sight:
    report = RunReport(run="shop-abc", plan="shop", status=Status.RUNNING, started_at=START)
    return Sight(report=report.model_copy(update={"steps": steps}), **fields)


def text_of(sight: Sight, width: int = 80, height: int = 24) -> str:
    console = Console(width=width, height=height, force_terminal=False, no_color=True)
    with console.capture() as capture:
        console.print(drawn(sight, LATER, height))
    return capture.get()


def test_each_step_has_a_line_in_plan_order_with_the_last_line_of_its_agent() -> None:
    running = step("b", status=Status.RUNNING, attempts=2, started_at=START)
    pulse = Activity(pulse=Pulse(host="h", phase="agent", line="compiling"))

    text = text_of(
        sight_of(step("a", status=Status.WAITING), running, activities={"b": pulse})
    ).splitlines()

    assert text[0].startswith("shop-abc running")
    assert "a" in text[1]
    assert "waiting" in text[1]
    assert all(word in text[2] for word in ("b", "running", "#2", "1m30s", "compiling"))
    assert "0 of 2 steps" in text[3]


def test_a_result_that_was_taken_over_is_told_with_the_run_it_is_from() -> None:
    sight = sight_of(step("a", outcome=Outcome.SUCCEEDED, reused="shop-old"))

    assert "succeeded (from shop-old)" in text_of(sight)
    assert list(lines_between(None, sight)) == ["a: succeeded (from shop-old)"]


def test_no_line_is_wider_than_the_terminal_and_none_is_lost_below_it() -> None:
    steps = [step(f"s{number}", status=Status.WAITING) for number in range(200)]
    steps[150] = step("s150", outcome=Outcome.FAILED, reason="AgentFailed: " + "x" * 500)

    lines = text_of(sight_of(*steps)).splitlines()

    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert any("s150" in line for line in lines)
    assert any("more steps" in line for line in lines)


def test_what_an_agent_prints_cannot_steer_the_terminal() -> None:
    evil = "\x1b[2J\x1b]0;owned\x07red\x1b[31m[bold]x"

    line = text_of(
        sight_of(
            step("a", status=Status.RUNNING, started_at=START),
            activities={"a": Activity(pulse=Pulse(host="h", phase="agent", line=evil))},
        )
    )

    assert "\x1b" not in line
    assert "\x07" not in line
    assert "[bold]x" in line
    assert harmless("a\x1b[31mb\x00c") == "abc"


def test_plain_lines_tell_only_what_changed() -> None:
    before = sight_of(
        step("a", status=Status.RUNNING, attempts=1), step("b", status=Status.WAITING)
    )
    after = sight_of(
        step("a", outcome=Outcome.FAILED, attempts=1, reason="AgentFailed: exit 3"),
        step("b", outcome=Outcome.SKIPPED, reason="Skipped: it needs 'a', which failed"),
    )

    assert list(lines_between(None, before)) == ["a: running"]
    assert list(lines_between(before, before)) == []
    assert list(lines_between(before, after)) == [
        "a: failed: AgentFailed: exit 3",
        "b: skipped: Skipped: it needs 'a', which failed",
    ]


def test_what_is_lost_stands_under_the_head_and_the_whole_stays_on_the_screen() -> None:
    steps = [step(f"s{number}", status=Status.RUNNING, started_at=START) for number in range(30)]
    lost = sight_of(*steps, lost=(Lost(loss=Loss.SERVER), Lost(loss=Loss.HOST, name="host-a")))

    lines = text_of(lost).splitlines()

    assert lines[1].rstrip() == "server lost, waiting for it"
    assert lines[2].rstrip() == "worker on host-a lost, waiting for it"
    assert len(lines) <= 24


def test_what_is_tried_again_is_told_with_its_reason_and_once() -> None:
    running = step("a", status=Status.RUNNING, attempts=1, started_at=START)
    calm = sight_of(running)
    full = Activity(failure="DiskFull: no room; free some", is_started=False)
    held = sight_of(running, activities={"a": full}, held_up="Locked: x.lock is there")

    lines = list(lines_between(calm, held))
    drawing = text_of(held, width=120)

    assert lines == [
        "trying again after Locked: x.lock is there",
        "a: trying again after DiskFull: no room; free some",
    ]
    assert list(lines_between(held, held)) == []
    assert all(line.removeprefix("a: ") in drawing for line in lines)


def test_the_end_tells_what_failed_and_why() -> None:
    report = RunReport(
        run="shop-abc",
        plan="shop",
        outcome=Outcome.FAILED,
        started_at=START,
        ended_at=LATER,
        reason="step 'a' failed: AgentFailed: exit 3",
        steps=(
            step("a", outcome=Outcome.FAILED, reason="AgentFailed: exit 3"),
            step("b", outcome=Outcome.SKIPPED, reason="Skipped: it needs 'a', which failed"),
        ),
    )

    assert [str(line) for line in summary(report)] == [
        "a failed: AgentFailed: exit 3",
        "skipped: b",
        "shop-abc failed after 1m30s",
    ]


def test_the_end_tells_of_each_step_that_was_cancelled_what_was_kept_and_where() -> None:
    ref = "refs/branchwork/shop-abc/attempts"
    known = {"outcome": Outcome.CANCELLED, "attempts": 1, "base": "b"}
    lost = "its worker was lost; what it wrote is kept on"
    many = (*(f"f{number}" for number in range(200)), "… and 12 more")
    report = RunReport(
        run="shop-abc",
        plan="shop",
        outcome=Outcome.CANCELLED,
        started_at=START,
        reason="Cancelled: by request",
        steps=(
            step("one", **known, kept=f"{ref}/one/1", changed=("a",)),
            step("many", **known, kept=f"{ref}/many/1", changed=many),
            step("clean", **known),
            step("gone", outcome=Outcome.CANCELLED, attempts=2),
            step("never", outcome=Outcome.CANCELLED),
            step("bad", outcome=Outcome.FAILED, attempts=1, reason="X: y", kept=f"{ref}/bad/1"),
        ),
    )

    assert [str(line) for line in summary(report)] == [
        f"one cancelled: 1 file kept on {ref}/one/1",
        f"many cancelled: 212 files kept on {ref}/many/1",
        "clean cancelled: it had changed nothing",
        f"gone cancelled: {lost} {ref}/gone/2 once that is back",
        "bad failed: X: y",
        f"  its commits are kept on {ref}/bad/1",
        "cancelled: never",
        "shop-abc cancelled",
        "  Cancelled: by request",
    ]
