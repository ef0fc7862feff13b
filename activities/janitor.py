"""What attempts left on this host when their worker died, taken away once their run is over."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from activities.agents.base import marker_of
from activities.blocking import Blocking
from activities.owning import owned_if_free
from activities.records import last_record
from activities.sweeping import sweep
from activities.workplace import recorded
from activities.worktrees import empty_trash
from branchwork.names import StateFolder

INTERVAL_SECONDS = 30
"""A run whose worker died ends, at the earliest, when its heartbeat times out."""

_log = logging.getLogger(__name__)


class Janitor:
    """Looks at worktrees that no attempt uses.

    While a run goes on, the next try of the step recovers its own. One whose run
    Temporal does not know is left alone: it may be another server's.
    """

    def __init__(
        self,
        state: StateFolder,
        blocking: Blocking,
        is_over: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._state = state
        self._blocking = blocking
        self._is_over = is_over
        self._complained: set[Path] = set()

    async def tidy_for_ever(self) -> None:
        while True:
            await self.tidy()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def tidy(self) -> None:
        """Fails for one worktree alone: the others are tidied, and it is tried again later."""
        for folder in sorted(self._state.worktrees.glob("*")):
            for worktree in sorted(folder.glob("[!.]*")):
                await self._tidy(worktree)
        await self._blocking(empty_trash, self._state.trash)

    async def _tidy(self, worktree: Path) -> None:
        run, step = worktree.parent.name, worktree.name
        try:
            if await self._is_over(run):
                await self._take_away(run, step)
        except Exception as error:  # noqa: BLE001  # whatever it is, it stops neither worker nor janitor
            self._complain(worktree, f"was not removed: {error}")

    def _complain(self, worktree: Path, what: str) -> None:
        """Once for each: it is looked at every half minute."""
        if worktree not in self._complained:
            self._complained.add(worktree)
            _log.warning("the worktree %s of an ended run %s", worktree, what)

    async def _take_away(self, run: str, step: str) -> None:
        """End its processes, keep its work, and only then remove it."""
        record = await self._blocking(last_record, self._state.attempts(run, step))
        if record is None:
            worktree = self._state.worktree(run, step)
            self._complain(worktree, "has no record that can be read, and is left alone")
            return
        with owned_if_free(self._state.attempts(run, step)) as is_free:
            if is_free:
                place = recorded(record, self._state)
                await sweep(marker_of(place.folder))
                await self._blocking(place.keep_leftover, datetime.now(UTC))
                _log.info("kept and removed what step %s of the ended run %s had left", step, run)
