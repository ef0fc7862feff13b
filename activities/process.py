"""One program, in a session of its own, of which nothing is left afterwards."""

import asyncio
import errno
import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from activities.blocking import to_its_end
from activities.lines import Capture, Printed
from activities.sweeping import GRACE_SECONDS, sweep

DRAIN_SECONDS = 1.0
"""What output gets to arrive after the end of its program: other processes may hold the pipe."""
REAPING_SECONDS = 1.0

_POLL_SECONDS = 0.05
_READ_BYTES = 64 * 1024
_PASSING = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY, errno.EINTR)
_REASONS = {
    errno.ENOENT: "there is no such program in its folder or PATH, or its first line names none",
    errno.EACCES: "it is not executable, or lies where it cannot be reached",
    errno.ENOEXEC: "it is no program; a script needs a first line like #!/bin/sh",
    errno.E2BIG: "command and environment are too long; the long part has to go into a file",
}


@dataclass(frozen=True)
class Program:
    """What to start, and where."""

    command: Sequence[str]
    """A program and its arguments; no shell looks at them."""
    folder: Path
    environment: Mapping[str, str]
    """All of it."""
    stdin: Path
    """A file and not a pipe: nobody has to feed it, and it outlives us."""


class CannotStartError(Exception):
    """The text names the program and the reason."""

    def __init__(self, text: str, *, transient: bool) -> None:
        super().__init__(text)
        self.transient = transient
        """Whether the machine was short of something, and the same may go well later."""


class Process:
    """A program that was started."""

    def __init__(self, popen: subprocess.Popen[bytes], capture: Capture) -> None:
        self._popen = popen
        self._capture = capture
        self._exit = asyncio.create_task(exit_of(popen.pid))
        self._streams = [
            _Stream(stream, capture, printed)
            for stream, printed in ((popen.stdout, capture.stdout), (popen.stderr, capture.stderr))
            if stream
        ]

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal. Known when `running` is left; None if even KILL did not end it."""
        return self._popen.returncode

    async def exited(self, seconds: float) -> bool:
        """Whether the program ended in that time, whatever others may still hold its pipes."""
        await asyncio.wait([self._exit], timeout=seconds)
        return self._exit.done()

    async def end(self, marker: Mapping[str, str]) -> None:
        """End what is left of it: at most 10 seconds, if nothing resists KILL."""
        try:
            if self._exit.done():
                await self._drain()
            await sweep(marker, GRACE_SECONDS, session=self._popen.pid)
            await self.exited(REAPING_SECONDS)
            await self._drain()
        finally:
            self._close()

    async def _drain(self) -> None:
        await asyncio.wait([stream.ended for stream in self._streams], timeout=DRAIN_SECONDS)

    def _close(self) -> None:
        self._exit.cancel()
        for stream in self._streams:
            stream.close()
        # Reaped only now: until here its number, and its group's, could be no one else's.
        self._popen.poll()


@asynccontextmanager
async def running(
    program: Program, capture: Capture, marker: Mapping[str, str]
) -> AsyncIterator[Process]:
    """Start `program`; end it, and all that carries `marker`, when the block is left.

    No cancel breaks the ending off; one that comes meanwhile is raised after it.
    Raises CannotStartError.
    """
    process = Process(_start(program), capture)
    try:
        yield process
    finally:
        await to_its_end(asyncio.create_task(process.end(marker)))


async def exit_of(pid: int) -> None:
    """Returns when the child `pid` has ended. It is not reaped."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        # No such call: macOS, and sandboxes that are not quite Linux.
        await polled_exit_of(pid)
        return
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(descriptor, _settle, ended)
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def polled_exit_of(pid: int) -> None:
    """As `exit_of`, at most a twentieth of a second late."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110  # no one tells us
            await asyncio.sleep(_POLL_SECONDS)


def _start(program: Program) -> subprocess.Popen[bytes]:
    """Without an await, so that no cancel finds it half started."""
    with program.stdin.open("rb") as stdin:
        try:
            return subprocess.Popen(  # noqa: S603  # what the plan says, and no shell
                program.command,
                bufsize=0,
                cwd=program.folder,
                env=program.environment,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            text = f"{program.command[0]!r} cannot be started: {_reason(error, program)}"
            raise CannotStartError(text, transient=error.errno in _PASSING) from error


def _reason(error: OSError, program: Program) -> str:
    if error.errno == errno.ENOENT and not program.folder.is_dir():
        return f"its folder {program.folder} is not there"
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


class _Stream:
    """Passes on what comes out of a pipe, as it comes."""

    def __init__(self, pipe: IO[bytes], capture: Capture, printed: Printed) -> None:
        self._pipe = pipe
        self._capture = capture
        self._printed = printed
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        os.set_blocking(pipe.fileno(), False)
        self._loop.add_reader(pipe.fileno(), self._read)

    def _read(self) -> None:
        """One piece a turn, so that a program that floods us starves no one else."""
        try:
            data = os.read(self._pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._capture.take(self._printed, data)
        else:
            self.close()

    def close(self) -> None:
        """Once; later calls do nothing."""
        if self._pipe.closed:
            return
        self._loop.remove_reader(self._pipe.fileno())
        self._pipe.close()
        _settle(self.ended)
        self._capture.end(self._printed)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
