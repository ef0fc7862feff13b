"""What every kind of agent is to the rest of Branchwork."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class AgentWork:
    """What one attempt asks of its agent."""

    run: str
    step: str
    agent: str
    action: str
    attempt: int
    worktree: Path
    folder: Path
    """For files beside the worktree: prompt, parameters, output, log."""
    prompt: str
    creates: tuple[str, ...]
    params: Mapping[str, Any]
    outputs: Mapping[str, Any]
    """Of the steps it needs, by their ids."""
    environment: Mapping[str, str | None]
    """What the plan adds; None takes the worker's own value."""
    timeout: timedelta


@dataclass(frozen=True)
class AgentEnd:
    """How an agent ended, as far as it can be believed."""

    ok: bool
    name: str = ""
    """Of the failure."""
    text: str = ""
    timed_out: bool = False
    transient: bool = False
    """Whether the cause passes by itself, so that the same attempt may be tried again."""
    again: bool = True
    """Whether another attempt could end better."""
    output: Mapping[str, Any] | None = None


class Agent(Protocol):
    async def work(self, work: AgentWork, on_line: Callable[[str], None]) -> AgentEnd:
        """Returns when nothing of the agent runs any more; after a cancel, raises only then.

        `on_line` is told every line that it prints, fit to be shown.
        """
