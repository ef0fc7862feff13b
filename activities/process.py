"""One program, followed by its files on disk, of which nothing is left afterwards.

It may be one that we started, or one that a worker before us did.
"""

import asyncio
import math
import os
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import psutil

from activities.blocking import to_its_end
from activities.launching import CannotStartError, Program, start
from activities.lines import LOG_BYTES, Capture
from activities.spool import Growing, Spool
from activities.sweeping import GRACE_SECONDS, is_marked, sweep

__all__ = [
    "CannotStartError",
    "Process",
    "Program",
    "adopted",
    "exit_of",
    "is_left",
    "polled_exit_of",
    "running",
]

REAPING_SECONDS = 1.0

_POLL_SECONDS = 0.05
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.1
_PAUSE_GROWTH = 1.5


def never() -> bool:
    return False


class Process:
    """A program that was started; `popen` if we are its parent."""

    def __init__(
        self, spool: Spool, capture: Capture, pid: int, popen: subprocess.Popen[bytes] | None
    ) -> None:
        self.pid = pid
        """Of its wrapper; 0 if that has ended."""
        self._spool = spool
        self._popen = popen
        self._capture = capture
        self._streams = (
            Growing(spool.stdout, lambda data: capture.take(capture.stdout, data), LOG_BYTES),
            Growing(spool.stderr, lambda data: capture.take(capture.stderr, data), LOG_BYTES),
        )
        self._last_output = time.monotonic()
        self._exit = asyncio.create_task(exit_of(pid))
        self._following = asyncio.create_task(self._follow())

    @property
    def exit_code(self) -> int | None:
        """As a shell tells it: 128 and its number for a signal.

        Known when `running` or `adopted` is left; None if nobody wrote it down.
        """
        code = self._spool.exit_status()
        if code is None and self._popen:
            code = self._popen.returncode
        return 128 - code if code is not None and code < 0 else code

    @property
    def silent_seconds(self) -> float:
        """Since its last output, or since it is followed."""
        return time.monotonic() - self._last_output

    async def exited(self, seconds: float) -> bool:
        """Whether the program ended in that time, whatever else may still run."""
        # Also an end that lies behind us takes a turn of the loop to be seen.
        patience = None if math.isinf(seconds) else max(_POLL_SECONDS, seconds)
        await asyncio.wait([self._exit], timeout=patience)
        return self._exit.done()

    async def end(self, marker: Mapping[str, str]) -> None:
        """End what is left of it: at most 10 seconds, if nothing resists KILL."""
        try:
            await sweep(marker, GRACE_SECONDS, session=self._session(marker))
            await self.exited(REAPING_SECONDS)
            await self._read_rest()
        finally:
            await self._close()

    async def let_go(self) -> None:
        """Follow it no more; it goes on."""
        await self._close()
        if self._popen and self._popen.returncode is None:
            # Whenever it ends, it is not to stay a zombie of ours.
            threading.Thread(target=self._popen.wait, daemon=True).start()

    def _session(self, marker: Mapping[str, str]) -> int | None:
        """Not reaped, or still itself: until then its number could be no one else's."""
        return self.pid if self._popen or is_marked(self.pid, marker) else None

    async def _follow(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            if self._read():
                pause = _FIRST_PAUSE_SECONDS
                # One piece a turn, so that a program that floods us starves no one else.
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(pause)
                pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_SECONDS)

    def _read(self) -> bool:
        grown = [stream.read() for stream in self._streams]
        if any(grown):
            self._last_output = time.monotonic()
        return any(grown)

    async def _read_rest(self) -> None:
        while self._read():  # noqa: ASYNC110  # a turn for the others, after each piece
            await asyncio.sleep(0)
        self._capture.end(self._capture.stdout)
        self._capture.end(self._capture.stderr)

    async def _close(self) -> None:
        for task in (self._exit, self._following):
            task.cancel()
        await asyncio.wait([self._exit, self._following])
        for stream in self._streams:
            stream.close()
        if self._popen:
            # Reaped only now: until here its number, and its group's, could be no one else's.
            self._popen.poll()


@asynccontextmanager
async def running(
    program: Program,
    capture: Capture,
    marker: Mapping[str, str],
    leave: Callable[[], bool] = never,
) -> AsyncIterator[Process]:
    """Start `program`; end it, and all that carries `marker`, when the block is left.

    Unless a cancel leaves it and `leave()` then says that it is to go on. No cancel breaks
    the ending off; one that comes meanwhile is raised after it. Raises CannotStartError.
    """
    popen = start(program)
    async with _followed(Process(program.spool, capture, popen.pid, popen), marker, leave) as found:
        yield found


@asynccontextmanager
async def adopted(
    spool: Spool,
    capture: Capture,
    marker: Mapping[str, str],
    leave: Callable[[], bool] = never,
) -> AsyncIterator[Process]:
    """As `running`, with a program that somebody else started, or that has ended by now.

    Its output is passed on from the beginning.
    """
    pid = spool.pid()
    is_alive = pid is not None and is_marked(pid, marker)
    process = Process(spool, capture, pid if pid and is_alive else 0, None)
    async with _followed(process, marker, leave) as found:
        yield found


def is_left(spool: Spool, marker: Mapping[str, str]) -> bool:
    """Whether a program of that spool runs, or told how it ended."""
    pid = spool.pid()
    return spool.exit_status() is not None or (pid is not None and is_marked(pid, marker))


@asynccontextmanager
async def _followed(
    process: Process, marker: Mapping[str, str], leave: Callable[[], bool]
) -> AsyncIterator[Process]:
    goes_on = False
    try:
        yield process
    except asyncio.CancelledError:
        goes_on = leave()
        raise
    finally:
        ending = process.let_go() if goes_on else process.end(marker)
        await to_its_end(asyncio.create_task(ending))


async def exit_of(pid: int) -> None:
    """Returns when the process `pid` has ended, or if there is none. It is not reaped."""
    if not pid:
        return
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


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
