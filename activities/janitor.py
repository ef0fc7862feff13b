"""What attempts left on this host, taken away once nobody will go on with it."""

import asyncio
import logging
import math
import time
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

AGAIN_SECONDS = 65
"""A file is half written, and not just being written, after a minute."""
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
        self._at_work: set[StepKey] = set()
        self._soon: asyncio.TimerHandle | None = None
        self._woken = asyncio.Event()
        self._some = asyncio.Semaphore(AT_ONCE)

    def wake(self) -> None:
        """Look now: a try left its agent to somebody else, and there may be nobody."""
        self._woken.set()

    def _look_soon(self) -> None:
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(SOON_SECONDS, self._wake_now)

    def _wake_now(self) -> None:
        self._soon = None
        self.wake()

    async def tidy_for_ever(self) -> None:
        """First of all what is seen in the repositories only: they are many, and far away.

        And once more, when what a kill has just left is old enough to be told for dead.
        """
        async with asyncio.TaskGroup() as steps:
            await self._look_all(steps, thoroughly=True)
            again_at = time.monotonic() + AGAIN_SECONDS
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), INTERVAL_SECONDS)
                self._woken.clear()
                is_due = time.monotonic() > again_at
                await self._look_all(steps, thoroughly=is_due)
                again_at = math.inf if is_due else again_at

    async def _look_all(self, steps: asyncio.TaskGroup, *, thoroughly: bool) -> None:
        try:
            await self._look(steps, thoroughly=thoroughly)
        except Exception:  # noqa: BLE001  # the next look may go well
            _log.exception("what is left on this host could not be looked at")

    async def tidy(self, *, thoroughly: bool = False) -> None:
        """Look once; returns when all that was found is dealt with."""
        async with asyncio.TaskGroup() as steps:
            await self._look(steps, thoroughly=thoroughly)

    async def _look(self, steps: asyncio.TaskGroup, *, thoroughly: bool) -> None:
        """Waits for no step: what a next look finds must not wait for agents deaf to TERM."""
        for left in await self._blocking(_there, self._state, thoroughly=thoroughly):
            if _key(left) not in self._at_work:
                self._at_work.add(_key(left))
                steps.create_task(self._tidy(left))
        await self._blocking(empty_trash, self._state.trash)
        if thoroughly:
            await self._blocking(_remove_junk, self._state)

    async def _tidy(self, left: Left) -> None:
        """Fails for one step alone: it is tried again later."""
        try:
            async with self._some:
                taken = await self._taking.take(left)
            _tell(left, taken)
            if taken.is_waiting:
                self._look_soon()
            if taken.worktree:
                await self._blocking(empty_trash, self._state.trash)
        except Exception as error:  # noqa: BLE001  # whatever it is, it stops neither worker nor janitor
            self._complain(left, str(error))
        finally:
            self._at_work.discard(_key(left))

    def _complain(self, left: Left, what: str) -> None:
        """Once for each: it is looked at every half minute."""
        if _key(left) not in self._complained:
            self._complained.add(_key(left))
            _log.warning("what step %s of run %s left is still here: %s", left.step, left.run, what)

    async def _why(self, run: str, step: str, attempt: int, host: str) -> str | None:
        standing = await self._standing_of(run)
        return why_left_over(standing, step, attempt, host) if standing else None


def _key(left: Left) -> StepKey:
    return left.run, left.step


def _there(state: StateFolder, *, thoroughly: bool) -> Sequence[Left]:
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
