"""What a step's agent printed."""

import asyncio
import sys
from pathlib import Path

from branchwork.cli.session import Session
from branchwork.cli.view import harmless
from branchwork.client import Branchwork
from branchwork.errors import RefusedError
from branchwork.outcomes import StepReport

_PAUSE_SECONDS = 0.3


async def show_log(here: Session, run: str, step: str, attempt: int | None, *, follow: bool) -> int:
    """Print the log of an attempt; with `follow` go on, over attempts, until the step ends."""
    client = await here.client()
    report = await _step(client, run, step)
    if report.reused:
        raise RefusedError(
            f"step {step!r} did not run in {run}, it was taken over: `branchwork logs"
            f" {report.reused} {step}`"
        )
    if report.attempts == 0 and not follow:
        raise RefusedError(f"step {step!r} of {run} has not run: {report.reason or report.status}")
    number = attempt or max(1, report.attempts)
    shown = Tail(here.state.log(run, step, number))
    if not follow:
        return _once(shown, run, step)
    while True:
        report = await _step(client, run, step)
        shown.show_new()
        if attempt is None and report.attempts > number:
            number += 1
            here.output.say(f"attempt {number}")
            shown = Tail(here.state.log(run, step, number))
        elif report.outcome is not None:
            return 0
        else:
            await asyncio.sleep(_PAUSE_SECONDS)


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


async def _step(client: Branchwork, run: str, step: str) -> StepReport:
    report = await client.report(run)
    for found in report.steps:
        if found.step == step:
            return found
    raise RefusedError(f"run {run} has no step {step!r}")
