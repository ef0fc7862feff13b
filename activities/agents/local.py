"""Agents that are programs on this host: started or gone on with, and followed to their end."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import NamedTuple

from activities.agents.base import AgentEnd, AgentWork, Watch
from activities.agents.desk import Desk
from activities.agents.limits import ended_within
from activities.blocking import to_its_end
from activities.lines import Capture, LogFile
from activities.process import CannotStartError, Process, Program, adopted, is_left, running
from activities.spool import Launch, Spool

_Follow = Callable[
    [Capture, Mapping[str, str], Callable[[], bool]], AbstractAsyncContextManager[Process]
]


class Ended(NamedTuple):
    """A program that has ended by itself."""

    exit_code: int | None
    """As a shell tells it; None if nobody could write it down."""
    tail: str
    """The last lines that it printed, secrets hidden."""


Judge = Callable[[Ended], AgentEnd]
"""What its end means, which only its adapter knows."""


class LocalProgram:
    """One program for one attempt; `environment` is the worker's."""

    def __init__(self, work: AgentWork, environment: Mapping[str, str]) -> None:
        self._work = work
        self._desk = Desk(work, environment)
        self._spool = Spool(work.folder)

    async def start(self, command: Sequence[str], watch: Watch, judge: Judge) -> AgentEnd:
        """Safe to call again for the same attempt: the log goes on, the rest begins anew."""
        if missing := self._desk.missing:
            return _missing_environment(missing)
        files = self._desk.files
        launch = await to_its_end(asyncio.ensure_future(asyncio.to_thread(files.write, self._work)))
        program = Program(
            command, self._work.worktree, self._desk.environment, files.prompt, files.spool
        )
        try:
            return await self._followed(launch, watch, partial(running, program), judge)
        except CannotStartError as error:
            return failed("CannotStart", str(error), transient=error.transient, again=False)

    def is_left(self) -> bool:
        return is_left(self._spool, self._work.marker)

    def forget(self) -> None:
        self._spool.forget_output()

    async def go_on(self, watch: Watch, judge: Judge) -> AgentEnd:
        launch = self._spool.launch()
        if launch is None:
            raise AssertionError(f"an agent was found in {self._work.folder} and no start of it")
        return await self._followed(launch, watch, partial(adopted, self._spool), judge)

    async def _followed(
        self, launch: Launch, watch: Watch, follow: _Follow, judge: Judge
    ) -> AgentEnd:
        work = self._work
        with LogFile(self._desk.files.log, keep_bytes=launch.log_bytes) as log:
            capture = Capture(log, watch.line, self._desk.secrets)
            async with follow(capture, work.marker, watch.leave) as process:
                watch.began(launch.started_at, f"process {process.pid}")
                limit = await ended_within(process, work, launch.started_at)
        if self._spool.pid() is None:
            text = f"nothing could be written in {work.folder}; see whether its disk is full"
            return failed("CannotStart", text, transient=True)
        ended = Ended(process.exit_code, capture.tail())
        if limit:
            text = with_tail(limit.text, ended.tail)
            return AgentEnd(
                ok=False, name=limit.name, text=text, timed_out=True, exit_code=ended.exit_code
            )
        return judge(ended)


def with_tail(text: str, tail: str) -> str:
    return f"{text}\n{tail}" if tail else text


def failed(name: str, text: str, *, transient: bool = False, again: bool = True) -> AgentEnd:
    return AgentEnd(ok=False, name=name, text=text, transient=transient, again=again)


def _missing_environment(names: Sequence[str]) -> AgentEnd:
    listed = ", ".join(names)
    return failed(
        "MissingEnvironment",
        f"the plan names {listed} in 'env', and the worker does not have it; start the worker"
        " anew from a shell that has it: branchwork down && branchwork up",
        again=False,
    )
