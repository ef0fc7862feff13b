"""A program that an agent is: started, listened to, and ended with all it started itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from activities.blocking import shielded
from activities.output_log import OutputLog
from activities.sweeping import sweep

GRACE_SECONDS = 5.0
"""Between TERM and KILL."""

_ENDING_SECONDS = 60
_LAST_WORDS_SECONDS = 1.0
"""How long output is awaited after the end: a grandchild may hold the pipes for ever."""


@dataclass(frozen=True)
class Program:
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    marker: Mapping[str, str]
    """Part of the environment, by which all its processes are found again."""
    text: bytes
    """For its stdin."""


class Running:
    """A started program: its exit, and the three tasks that talk with it."""

    def __init__(self, process: asyncio.subprocess.Process, text: bytes, log: OutputLog) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError("a program was started without pipes")
        self.process = process
        self._mouth = asyncio.create_task(_feed(process.stdin, text))
        self._ears = (
            asyncio.create_task(log.listen(process.stdout, is_stderr=False)),
            asyncio.create_task(log.listen(process.stderr, is_stderr=True)),
        )

    async def code(self) -> int:
        """Its exit code, negative for a signal, once its last words are in the log."""
        code = await self.process.wait()
        await asyncio.wait(self._ears, timeout=_LAST_WORDS_SECONDS)
        return code

    async def part(self) -> None:
        """Let go of its streams."""
        tasks = (self._mouth, *self._ears)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def started(program: Program, log: OutputLog) -> AsyncIterator[Running]:
    """Raises OSError if it cannot be started. At the exit none of its processes is left."""
    process = await asyncio.create_subprocess_exec(
        *program.command,
        cwd=program.folder,
        env=program.environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    running = Running(process, program.text, log)
    try:
        yield running
    finally:
        await shielded(_end(running, program.marker), _ENDING_SECONDS)


async def _end(running: Running, marker: Mapping[str, str]) -> None:
    """TERM, a grace, KILL; then whatever it started and left behind, wherever that went."""
    process = running.process
    try:
        if process.returncode is None:
            _signal(process.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), GRACE_SECONDS)
        if process.returncode is None:
            _signal(process.pid, signal.SIGKILL)
        await sweep(marker, grace_seconds=1.0)
        await process.wait()
    finally:
        await running.part()


def _signal(group: int, number: signal.Signals) -> None:
    """Its leader was not waited for yet, so the number is no stranger's."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _feed(stream: asyncio.StreamWriter, text: bytes) -> None:
    """A program that does not read its stdin is none the worse for it."""
    with suppress(BrokenPipeError, ConnectionResetError):
        stream.write(text)
        await stream.drain()
    stream.close()
    with suppress(BrokenPipeError, ConnectionResetError):
        await stream.wait_closed()
