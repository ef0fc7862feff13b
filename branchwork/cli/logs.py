"""What a step's agent printed."""

import sys
from pathlib import Path

from branchwork.cli.losses import changes
from branchwork.cli.session import Session
from branchwork.cli.view import harmless
from branchwork.client import Branchwork
from branchwork.errors import RefusedError
from branchwork.outcomes import RunReport, StepReport
from branchwork.sights import Sight

_PAUSE_SECONDS = 0.3


async def show_log(here: Session, run: str, step: str, attempt: int | None, *, follow: bool) -> int:
    """Print the log of an attempt; with `follow` go on, over attempts, until the step ends."""
    client = await here.client()
    if follow:
        return await _follow(here, client, Followed(here, run, step, attempt))
    report = _step(await client.report(run), step)
    _require_run_here(report, run)
    if report.attempts == 0:
        raise RefusedError(f"step {step!r} of {run} has not run: {report.reason or report.status}")
    return _once(Tail(here.state.log(run, step, attempt or report.attempts)), run, step)


async def _follow(here: Session, client: Branchwork, log: "Followed") -> int:
    """Waits for server and worker when they die, as `watch` does."""
    before: Sight | None = None
    async for sight in here.follower(client, log.run).sights(_PAUSE_SECONDS):
        here.output.say_all(changes(before, sight, here.remedy))
        before = sight
        # Nothing is known of the steps of a run that has not answered yet.
        if sight.report.steps:
            report = _step(sight.report, log.step)
            _require_run_here(report, log.run)
            if log.show(report):
                break
    return 0


def _require_run_here(report: StepReport, run: str) -> None:
    if report.reused:
        raise RefusedError(
            f"step {report.step!r} did not run in {run}, it was taken over: `branchwork logs"
            f" {report.reused} {report.step}`"
        )


class Followed:
    """The logs of a step, one attempt after the other."""

    def __init__(self, here: Session, run: str, step: str, attempt: int | None) -> None:
        self.run = run
        self.step = step
        self._here = here
        self._only = attempt
        self._shown: tuple[int, Tail] | None = None

    def show(self, report: StepReport) -> bool:
        """Print what is new; whether that was the last of it, since the step has ended."""
        number, tail = self._shown or self._of(self._only or max(1, report.attempts))
        tail.show_new()
        while self._only is None and number < report.attempts:
            number, tail = self._of(number + 1)
            self._here.output.say(f"attempt {number}")
            tail.show_new()
        self._shown = (number, tail)
        return report.outcome is not None

    def _of(self, attempt: int) -> "tuple[int, Tail]":
        return attempt, Tail(self._here.state.log(self.run, self.step, attempt))


class Tail:
    """A log file that grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0

    def show_new(self) -> None:
        """Print what came since the last call; nothing if the file is not there yet."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            while chunk := file.read(1 << 16):
                self._read += len(chunk)
                _print(chunk)


def _print(chunk: bytes) -> None:
    """To a terminal without what could steer it; to a file or pipe as it is."""
    if sys.stdout.isatty():
        sys.stdout.write(harmless(chunk.decode(errors="replace")))
    else:
        sys.stdout.buffer.write(chunk)
    sys.stdout.flush()


def _once(shown: Tail, run: str, step: str) -> int:
    if not shown.path.exists():
        raise RefusedError(
            f"this host has no log of step {step!r} of {run}; it lies where the step ran"
        )
    shown.show_new()
    return 0


def _step(report: RunReport, step: str) -> StepReport:
    for found in report.steps:
        if found.step == step:
            return found
    raise RefusedError(f"run {report.run} has no step {step!r}")
