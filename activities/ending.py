"""Agents that go on running on this host without a worker, and their end before the next one."""

from collections.abc import Mapping
from typing import NamedTuple

from activities.blocking import Blocking
from activities.leftovers import Left, what_is_there
from activities.taking_away import Taken, TakingAway
from branchwork.names import StateFolder


class Ended(NamedTuple):
    """An agent that was ended; its step begins anew, from its base, with the next worker."""

    left: Left
    taken: Taken


class LeftAgents:
    """Those of one state folder. Whoever is served by a living worker is not ended."""

    def __init__(
        self, state: StateFolder, host: str, environ: Mapping[str, str], blocking: Blocking
    ) -> None:
        self._state = state
        self._blocking = blocking
        self._taking = TakingAway(state, host, environ, blocking, _why, begins_anew=True)

    async def running(self) -> list[Left]:
        """By step. An agent that ended by itself is not one: the next worker judges it."""
        found = await self._blocking(what_is_there, self._state)
        return [left for left in found if left.processes]

    async def end(self, left: Left) -> Ended:
        """End it, keep its work, and only then remove its worktree.

        Raises UnreadableError, GitError, OSError; what could not be kept is still there then.
        """
        return Ended(left, await self._taking.take(left))


async def _why(run: str, step: str, attempt: int, host: str) -> str:
    del run, step, attempt, host
    return "it was to end with its worker"
