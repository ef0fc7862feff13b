"""How a run looks in a terminal: a line a step, in plan order."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from branchwork.cli.losses import changes, sentence
from branchwork.contract import AGENT_PHASE, Pulse
from branchwork.durations import format_duration
from branchwork.names import attempt_ref
from branchwork.outcomes import Outcome, RunReport, Status, StepReport
from branchwork.sights import Activity, Sight

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_MORE = re.compile(r"… and (\d+) more")
_MOST_LOST = 3
_AGAIN = "trying again after "
"""What stands before a failure that Temporal does not take for the end."""

_LOOKS: dict[str, tuple[str, str]] = {
    Outcome.SUCCEEDED: ("✓", "green"),
    Outcome.FAILED: ("✗", "bold red"),
    Outcome.TIMED_OUT: ("⧖", "bold red"),
    Outcome.CANCELLED: ("■", "yellow"),
    Outcome.SKIPPED: ("-", "dim"),
    Status.WAITING: ("·", "dim"),
    Status.READY: ("○", "cyan"),
    Status.RUNNING: ("▶", "blue"),
    Status.BACKING_OFF: ("↻", "yellow"),
    Status.PAUSED: ("‖", "yellow"),
}


def harmless(text: str) -> str:
    """`text` without what could steer the terminal; agents write it."""
    return _CONTROL.sub("", text)


def standing(report: StepReport | RunReport) -> str:
    """Outcome if there is one, else status: the word to show, and whose result was taken over."""
    word = str(report.outcome or report.status or "unknown").replace("_", " ")
    reused = report.reused if isinstance(report, StepReport) else None
    return f"{word} (from {reused})" if reused else word


def drawn(sight: Sight, now: datetime, height: int, remedy: str = "") -> RenderableType:
    """The whole run, cut to `height` lines by leaving out steps that wait or went well.

    `remedy` is the command that brings lost servers and workers back.
    """
    table = Table.grid(padding=(0, 2))
    lost = [_warning(sentence(lost, remedy)) for lost in sight.lost[:_MOST_LOST]]
    if sight.held_up:
        lost.append(_warning(f"{_AGAIN}{harmless(sight.held_up)}"))
    shown = _chosen(sight.report.steps, max(4, height - 4 - len(lost)))
    for step in shown:
        table.add_row(*_row(step, sight.activities.get(step.step), now))
    hidden = len(sight.report.steps) - len(shown)
    more = [Text(f"  … and {hidden} more steps", "dim")] if hidden else []
    return Group(_head(sight.report, now), *lost, table, *more, _bar(sight.report))


def _warning(text: str) -> Text:
    return Text(text, "bold yellow", no_wrap=True, overflow="ellipsis")


def lines_between(before: Sight | None, after: Sight, remedy: str = "") -> Iterator[str]:
    """What changed from one sight to the next, as plain lines."""
    old = {step.step: step for step in before.report.steps} if before else {}
    yield from changes(before, after, remedy)
    if after.held_up and after.held_up != (before and before.held_up):
        yield f"{_AGAIN}{harmless(after.held_up)}"
    for step in after.report.steps:
        known = old.get(step.step)
        if known is None and step.status is Status.WAITING:
            continue
        if known is None or _mark(known) != _mark(step):
            yield _line(step)
        failure = _failure(after, step)
        if failure and failure != (before and _failure(before, step)):
            yield f"{step.step}: {_AGAIN}{harmless(failure)}"


def _failure(sight: Sight, step: StepReport) -> str | None:
    activity = sight.activities.get(step.step)
    return activity.failure if activity else None


def summary(report: RunReport) -> Iterator[Text]:
    """How the run ended: what failed and why, then the run in one line."""
    for step in report.steps:
        failed = step.outcome in (Outcome.FAILED, Outcome.TIMED_OUT)
        if failed or (step.outcome is Outcome.CANCELLED and step.attempts):
            yield from ended(step, report.run)
    for outcome in (Outcome.CANCELLED, Outcome.SKIPPED):
        of_it = [step for step in report.steps if step.outcome is outcome]
        if names := [step.step for step in of_it if not step.attempts]:
            yield Text(f"{outcome}: {', '.join(names)}", "dim")
    style = "bold green" if report.outcome is Outcome.SUCCEEDED else "bold red"
    yield Text(f"{report.run} {standing(report)}{_took(report)}", style)
    if report.reason and not report.reason.startswith("step "):
        yield Text(f"  {harmless(report.reason)}", "red")


def ended(step: StepReport, run: str) -> Iterator[Text]:
    """How a step ended that was tried, and where its work is if it did not succeed."""
    if step.outcome is Outcome.CANCELLED:
        yield Text(f"{step.step} cancelled: {_kept(step, run)}", "yellow")
        return
    why = f": {harmless(step.reason)}" if step.reason else ""
    yield Text(f"{step.step} {standing(step)}{why}", "red" if why else "")
    if step.kept:
        yield Text(f"  {_kept(step, run)}", "dim")


def _kept(step: StepReport, run: str) -> str:
    """`3 files kept on REF`."""
    if step.kept:
        return f"{_files(step.changed)} kept on {step.kept}"
    if step.base:
        return "it had changed nothing"
    ref = attempt_ref(run, step.step, step.attempts)
    return f"its worker was lost; what it wrote is kept on {ref} once that is back"


def _files(changed: tuple[str, ...]) -> str:
    """`3 files`; a last `… and 12 more` stands for twelve."""
    more = _MORE.fullmatch(changed[-1]) if changed else None
    count = len(changed) + (int(more[1]) - 1 if more else 0)
    return f"{count} file{'' if count == 1 else 's'}" if count else "its commits are"


def step_table(report: RunReport, now: datetime) -> Table:
    """For `status`: every step, with its attempts and times."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("step", "agent", "", "attempt", "time", "why"):
        table.add_column(name, overflow="fold")
    for step in report.steps:
        sign, style = _LOOKS[step.outcome or step.status or Status.WAITING]
        table.add_row(
            step.step,
            harmless(step.agent),
            Text(f"{sign} {standing(step)}", style),
            str(step.attempts or ""),
            _elapsed(step, now),
            Text(harmless(step.reason or "")),
        )
    return table


def _mark(step: StepReport) -> tuple[object, ...]:
    return step.outcome, step.status, step.attempts


def _line(step: StepReport) -> str:
    attempt = f" (attempt {step.attempts})" if step.attempts > 1 else ""
    took = f" after {step.duration_seconds:.1f}s" if step.duration_seconds else ""
    why = f": {harmless(step.reason)}" if step.reason and step.outcome else ""
    return f"{step.step}: {standing(step)}{attempt}{took if step.outcome else ''}{why}"


def _head(report: RunReport, now: datetime) -> Text:
    head = Text(f"{report.run} ", "bold")
    head.append(standing(report), _LOOKS[report.outcome or report.status or Status.RUNNING][1])
    head.append(f"  {clock((report.ended_at or now) - report.started_at)}", "dim")
    return head


def _bar(report: RunReport) -> Table:
    ended = sum(step.outcome is not None for step in report.steps)
    bar = Table.grid(padding=(0, 1))
    total = max(1, len(report.steps))
    bar.add_row(
        ProgressBar(total=total, completed=ended, width=40),
        Text(f"{ended} of {len(report.steps)} steps", "dim"),
    )
    return bar


def _row(step: StepReport, activity: Activity | None, now: datetime) -> tuple[Text, ...]:
    sign, style = _LOOKS[step.outcome or step.status or Status.WAITING]
    return (
        Text(f"{sign} {step.step}", style),
        Text(harmless(step.agent), "dim"),
        Text(standing(step), style),
        Text(f"#{step.attempts}" if step.attempts > 1 else "", "yellow"),
        Text(_elapsed(step, now), "dim"),
        _news(step, activity),
    )


def _news(step: StepReport, activity: Activity | None) -> Text:
    """The last line of an agent that runs; why it waits or failed; nothing else."""
    if activity and activity.failure and not activity.is_started:
        news, style = f"{_AGAIN}{activity.failure}", "yellow"
    elif activity and activity.pulse:
        news, style = _doing(activity.pulse), "dim"
    else:
        news, style = step.reason or "", "red" if step.outcome is Outcome.FAILED else "dim"
    first = harmless(news.partition("\n")[0])
    return Text(first, style, no_wrap=True, overflow="ellipsis")


def _doing(pulse: Pulse) -> str:
    """What the agent says while it works; else what is done with its work."""
    return pulse.line if pulse.line and pulse.phase == AGENT_PHASE else pulse.phase


def _elapsed(step: StepReport, now: datetime) -> str:
    if step.duration_seconds is not None:
        return clock(timedelta(seconds=step.duration_seconds))
    running = step.status is Status.RUNNING and step.started_at
    return clock(now - step.started_at) if running and step.started_at else ""


def clock(duration: timedelta) -> str:
    seconds = max(0.0, duration.total_seconds())
    return f"{seconds:.1f}s" if seconds < 60 else format_duration(duration)  # noqa: PLR2004


def _took(report: RunReport) -> str:
    return f" after {clock(report.ended_at - report.started_at)}" if report.ended_at else ""


def _chosen(steps: tuple[StepReport, ...], most: int) -> list[StepReport]:
    """At most so many, in plan order: first what runs or went wrong, then what waits."""
    if len(steps) <= most:
        return list(steps)
    ranked = sorted(range(len(steps)), key=lambda index: (_rank(steps[index]), index))
    return [steps[index] for index in sorted(ranked[: most - 1])]


def _rank(step: StepReport) -> int:
    if step.status in (Status.RUNNING, Status.BACKING_OFF):
        return 0
    if step.outcome in (Outcome.FAILED, Outcome.TIMED_OUT):
        return 1
    return 2 if step.status is Status.READY else 3 if step.outcome is None else 4


def utc_now() -> datetime:
    return datetime.now(UTC)
