"""What attempts left on this host, taken away once nobody will go on with it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from activities.blocking import Blocking
from activities.gc_files import find_junk, remove_junk
from activities.gc_scene import NotCollectedError
from activities.git_faults import GitError
from activities.leftovers import Left, StepKey, repositories_of, what_is_there
from activities.taking_away import Taken, TakingAway
from activities.trash import empty_trash
from branchwork.collecting import Doing
from branchwork.names import StateFolder
from branchwork.standing import Standing, why_left_over

INTERVAL_SECONDS = 30
"""A run whose worker died ends, at the earliest, when its heartbeat times out."""
SOON_SECONDS = 3
"""Where something waits for its next turn, or for its run to end without one."""
AT_ONCE = 16
"""Steps; agents that do not care for TERM take 5 s each."""

_log = logging.getLogger(__name__)


class Janitor:
    """Looks at what of steps stands here, and asks the server of their runs.

    One whose run Temporal does not know is left alone: it may be another server's.
    """

    def __init__(
        self,
        state: StateFolder,
        host: str,
        environ: Mapping[str, str],
        blocking: Blocking,
        standing_of: Callable[[str], Awaitable[Standing | None]],
    ) -> None:
        self._state = state
        self._blocking = blocking
        self._standing_of = standing_of
        self._taking = TakingAway(state, host, environ, blocking, self._why)
        self._complained: set[StepKey] = set()
        self._is_waiting = False
        self._woken = asyncio.Event()
        self._some = asyncio.Semaphore(AT_ONCE)

    def wake(self) -> None:
        """Look now: a try left its agent to somebody else, and there may be nobody."""
        self._woken.set()

    async def tidy_for_ever(self) -> None:
        """First of all what is seen in the repositories only: they are many, and far away."""
        await self._tidy_all(thoroughly=True)
        while True:
            pause = SOON_SECONDS if self._is_waiting else INTERVAL_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), pause)
            self._woken.clear()
            await self._tidy_all(thoroughly=False)

    async def _tidy_all(self, *, thoroughly: bool) -> None:
        try:
            await self.tidy(thoroughly=thoroughly)
        except Exception:  # noqa: BLE001  # the next look may go well
            _log.exception("what is left on this host could not be looked at")

    async def tidy(self, *, thoroughly: bool = False) -> None:
        """Fails for one step alone: the others are tidied, and it is tried again later."""
        found = await self._blocking(_look, self._state, thoroughly=thoroughly)
        self._is_waiting = False
        async with asyncio.TaskGroup() as steps:
            for left in found:
                steps.create_task(self._tidy(left))
        await self._blocking(empty_trash, self._state.trash)
        if thoroughly:
            await self._blocking(_remove_junk, self._state)

    async def _tidy(self, left: Left) -> None:
        try:
            async with self._some:
                taken = await self._taking.take(left)
        except Exception as error:  # noqa: BLE001  # whatever it is, it stops neither worker nor janitor
            self._complain(left, str(error))
        else:
            self._is_waiting |= taken.is_waiting
            _tell(left, taken)

    def _complain(self, left: Left, what: str) -> None:
        """Once for each: it is looked at every half minute."""
        if (left.run, left.step) not in self._complained:
            self._complained.add((left.run, left.step))
            _log.warning("what step %s of run %s left is still here: %s", left.step, left.run, what)

    async def _why(self, run: str, step: str, attempt: int, host: str) -> str | None:
        standing = await self._standing_of(run)
        return why_left_over(standing, step, attempt, host) if standing else None


def _look(state: StateFolder, *, thoroughly: bool) -> Sequence[Left]:
    return what_is_there(state, repositories_of(state) if thoroughly else ())


def _remove_junk(state: StateFolder) -> None:
    for junk in find_junk(state, repositories_of(state)):
        if junk.doing is not Doing.LEAVE:
            # One that stays is named by `branchwork gc`, with the reason.
            with suppress(NotCollectedError, GitError, OSError):
                _log.info("%s %s: %s", remove_junk(state, junk), junk.what, junk.reason)


def _tell(left: Left, taken: Taken) -> None:
    if taken.processes:
        _log.info("ended %d processes of step %s of run %s", taken.processes, left.step, left.run)
    if taken.worktree:
        where = f"kept on {taken.ref}" if taken.ref else "without changes"
        _log.info("removed the worktree of step %s of run %s, %s", left.step, left.run, where)
