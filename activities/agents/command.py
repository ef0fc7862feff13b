"""The agent that is a command: a script or a program, told by environment and files."""

import signal
from collections.abc import Mapping, Sequence

from activities.agents.base import AgentEnd, AgentWork, Watch
from activities.agents.desk import Desk
from activities.agents.local import Ended, Judge, LocalProgram, failed, with_tail
from activities.agents.outputs import BadOutputError, hidden, read_output
from branchwork.plan import AgentSpec

_EX_TEMPFAIL = 75
_ENDING = {
    number.value: number.name
    for number in (
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGILL, signal.SIGABRT),
        *(signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE),
        *(signal.SIGALRM, signal.SIGTERM, signal.SIGXCPU, signal.SIGXFSZ),
    )
}
"""Signals that end programs."""


class CommandAgent:
    """Of kind `command`. `environment` is the worker's."""

    def __init__(self, spec: AgentSpec, environment: Mapping[str, str]) -> None:
        self._command = _command(spec.run)
        self._environment = environment

    async def work(self, work: AgentWork, watch: Watch) -> AgentEnd:
        return await self._program(work).start(self._command, watch, self._judge(work))

    def is_left(self, work: AgentWork) -> bool:
        return self._program(work).is_left()

    def forget(self, work: AgentWork) -> None:
        self._program(work).forget()

    async def go_on(self, work: AgentWork, watch: Watch) -> AgentEnd:
        return await self._program(work).go_on(watch, self._judge(work))

    def _program(self, work: AgentWork) -> LocalProgram:
        return LocalProgram(work, self._environment)

    def _judge(self, work: AgentWork) -> Judge:
        desk = Desk(work, self._environment)
        return lambda ended: _judged(ended, desk)


def _judged(ended: Ended, desk: Desk) -> AgentEnd:
    """An exit code is all that a command tells."""
    if ended.exit_code != 0:
        return AgentEnd(
            ok=False,
            name="AgentFailed",
            text=with_tail(_how(ended.exit_code), ended.tail),
            transient=ended.exit_code == _EX_TEMPFAIL,
            exit_code=ended.exit_code,
        )
    try:
        output = read_output(desk.files.output)
    except BadOutputError as error:
        return failed("BadOutput", f"what the agent wrote to BRANCHWORK_OUTPUT {error}")
    return AgentEnd(ok=True, output=hidden(output, desk.secrets), exit_code=0)


def _command(run: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(run, str):
        return ("/bin/sh", "-e", "-c", "--", run)
    return tuple(run)


def _how(exit_code: int | None) -> str:
    """A shell tells the end by a signal as 128 and its number; a program may exit so too."""
    if exit_code is None:
        return "it was killed, and nobody could see how"
    name = _ENDING.get(exit_code - 128)
    return f"ended by {name}" if name else f"exit {exit_code}"
