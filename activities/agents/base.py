"""What every kind of agent is asked, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

PROMPT_FILE = "prompt.txt"
MARKER = "BRANCHWORK_PROMPT_FILE"
"""The variable that all processes of an attempt have."""


def marker_of(folder: Path) -> Mapping[str, str]:
    """Of the attempt whose own folder that is.

    A path, and not run, step and attempt: those may be the same on another server.
    """
    return {MARKER: str(folder / PROMPT_FILE)}


@dataclass(frozen=True)
class AgentWork:
    """One attempt of one step, as its agent sees it."""

    run: str
    step: str
    agent: str
    """Its name in the plan."""
    action: str
    """Empty if the step has none."""
    attempt: int
    worktree: Path
    """Where it works."""
    folder: Path
    """This attempt's own, outside the worktree: prompt, parameters, output and log."""
    prompt: str | None
    """Rendered."""
    creates: tuple[str, ...]
    params: Mapping[str, Any]
    outputs: Mapping[str, Any]
    """What the steps it needs handed on, by their ids."""
    environment: Mapping[str, str | None]
    """What agent and step name; None takes the worker's value."""
    timeout: timedelta
    stall: timedelta | None
    """How long it may neither print nor change a file; None: as long as it likes."""

    @property
    def marker(self) -> Mapping[str, str]:
        """What all its processes have in their environment, and no others."""
        return marker_of(self.folder)


@dataclass(frozen=True)
class Watch:
    """Who looks at an agent while it works; called in the event loop's thread."""

    line: Callable[[str], None]
    """The last line that it printed, fit to be shown."""
    began: Callable[[datetime, str], None]
    """When it was started, and what it goes by."""
    leave: Callable[[], bool]
    """Whether a cancel that comes now is to leave it running, for a later turn."""


@dataclass(frozen=True)
class AgentEnd:
    """How an agent ended. It is not yet judged what its worktree holds."""

    ok: bool
    name: str = ""
    """Of the failure: AgentFailed, TimedOut, Stalled, BadOutput, CannotStart or
    MissingEnvironment."""
    text: str = ""
    """What happened, for the report; holds no secret."""
    transient: bool = False
    """Whether the same may go well in a while."""
    again: bool = True
    """Whether another attempt could end better; False for what stays wrong."""
    timed_out: bool = False
    output: Mapping[str, Any] | None = None
    """What it hands on; None if it wrote nothing."""
    exit_code: int | None = None
    """None if nothing was started, or nobody could write it down."""


class Agent(Protocol):
    """Does the work of an attempt."""

    async def work(self, work: AgentWork, watch: Watch) -> AgentEnd:
        """Its end, when nothing of it runs any more; so too before a cancel is raised.

        Unless that cancel is to leave it running: then it goes on, and can be gone on with.
        """
        ...

    def is_left(self, work: AgentWork) -> bool:
        """Whether an earlier turn left an agent that lives, or that told its end. Blocking."""
        ...

    def forget(self, work: AgentWork) -> None:
        """Its end is on record: what only served to find it again may go. Safe to do twice."""
        ...

    async def go_on(self, work: AgentWork, watch: Watch) -> AgentEnd:
        """As `work`, with the agent that is left: it is followed to its end, not started again."""
        ...
