"""`use: command`: any program, judged by its exit code and by what it leaves behind."""

import asyncio
import re
import signal
from collections.abc import Callable, Iterable, Mapping

from activities.agents.base import AgentEnd, AgentWork
from activities.agents.handover import (
    BadOutputError,
    MissingVariableError,
    environment_for,
    read_output,
    secrets_of,
    write_files,
)
from activities.output_log import OutputLog
from activities.process import Program, started
from branchwork.durations import format_duration
from branchwork.plan import AgentSpec

TEMPORARY_FAILURE = 75
"""EX_TEMPFAIL of sysexits.h: the same command may succeed later."""

_MOST_TOLD_BYTES = 4096
_MOST_LINE = 200
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f]")


class CommandAgent:
    """A script for `/bin/sh -e`, or a program started as it is."""

    def __init__(self, spec: AgentSpec, environ: Mapping[str, str]) -> None:
        self._spec = spec
        self._environ = environ

    async def work(self, work: AgentWork, on_line: Callable[[str], None]) -> AgentEnd:
        try:
            program = self._program(work)
        except MissingVariableError as error:
            return AgentEnd(ok=False, name="MissingEnvironment", text=str(error), again=False)
        secrets = secrets_of(work, self._environ)
        log = OutputLog(
            work.folder / "output.log",
            lambda line: _hidden(line, secrets),
            lambda line: on_line(_shown(line)),
        )
        try:
            return await self._run(program, work, log)
        finally:
            log.close()

    def _program(self, work: AgentWork) -> Program:
        environment = environment_for(work, self._environ)
        write_files(work)
        run = self._spec.run
        return Program(
            command=("/bin/sh", "-e", "-c", run) if isinstance(run, str) else tuple(run),
            folder=work.worktree,
            environment=environment,
            marker={
                name: environment[name]
                for name in ("BRANCHWORK_RUN", "BRANCHWORK_STEP", "BRANCHWORK_ATTEMPT")
            },
            text=work.prompt.encode(),
        )

    async def _run(self, program: Program, work: AgentWork, log: OutputLog) -> AgentEnd:
        try:
            async with started(program, log) as running:
                code = await asyncio.wait_for(running.code(), work.timeout.total_seconds())
        except TimeoutError:
            limit = format_duration(work.timeout)
            return _failed("TimedOut", f"no end after {limit}", log.lines, timed_out=True)
        except OSError as error:
            text = f"{program.command[0]} cannot be started: {error.strerror or error}"
            return AgentEnd(ok=False, name="CannotStart", text=text, again=False)
        if code == 0:
            return _with_output(work)
        told = log.errors or log.lines
        return _failed("AgentFailed", _exit(code), told, transient=code == TEMPORARY_FAILURE)


def _with_output(work: AgentWork) -> AgentEnd:
    try:
        return AgentEnd(ok=True, output=read_output(work))
    except BadOutputError as error:
        return AgentEnd(ok=False, name="BadOutput", text=str(error))


def _failed(
    name: str,
    text: str,
    lines: Iterable[bytes],
    *,
    timed_out: bool = False,
    transient: bool = False,
) -> AgentEnd:
    """With the last lines that were printed."""
    last = b"".join(lines)[-_MOST_TOLD_BYTES:].decode(errors="replace").strip()
    told = f"{text}\n{last}" if last else text
    return AgentEnd(ok=False, name=name, text=told, timed_out=timed_out, transient=transient)


def _exit(code: int) -> str:
    return f"exit {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"


def _hidden(line: bytes, secrets: Mapping[str, str]) -> bytes:
    for name, value in secrets.items():
        line = line.replace(value.encode(), f"[{name}]".encode())
    return line


def _shown(line: bytes) -> str:
    return _CONTROL.sub("", line.decode(errors="replace"))[:_MOST_LINE]
