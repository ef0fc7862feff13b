"""What nobody goes on with is ended, kept, and only then removed."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from activities.agents.base import marker_of
from activities.blocking import Blocking
from activities.last_words import log_last_words
from activities.leftovers import Left
from activities.owning import owned_if_free
from activities.records import Record, last_record
from activities.sweeping import sweep
from activities.workplace import recorded
from branchwork.names import StateFolder

Why = Callable[[str, str, int, str], Awaitable[str | None]]
"""(run, step, attempt, host): why nobody will go on with it; None if somebody may."""


class UnreadableError(Exception):
    """Nothing tells what it is, so that it cannot be kept; the text names it."""


class Taken(NamedTuple):
    """What was taken away of one step."""

    processes: int = 0
    worktree: bool = False
    ref: str | None = None
    """Where the worktree's work is now; None if there was none."""
    is_waiting: bool = False
    """Whether nobody works on what is still there, and somebody may yet go on with it."""


class TakingAway:
    """On one host. It is decided under the step's lock: a try that starts meanwhile waits."""

    def __init__(  # noqa: PLR0913  # the last one by name
        self,
        state: StateFolder,
        host: str,
        environ: Mapping[str, str],
        blocking: Blocking,
        why: Why,
        *,
        begins_anew: bool = False,
    ) -> None:
        self._state = state
        self._host = host
        self._environ = environ
        self._blocking = blocking
        self._why = why
        self._begins_anew = begins_anew
        """Whether the attempts go on: then the record must not tell of an agent any more."""

    async def take(self, left: Left) -> Taken:
        """Nothing of a step that somebody works on, or may go on with.

        Raises UnreadableError, GitError, OSError; what could not be kept is still there then.
        """
        attempts = self._state.attempts(left.run, left.step)
        if left.has_worktree and await self._blocking(last_record, attempts) is None:
            raise UnreadableError(
                f"{self._state.worktree(left.run, left.step)} holds something of which no record"
                " can be read, and is left alone; look whether it is needed, and move it away"
            )
        with owned_if_free(attempts) as is_free:
            taken = await self._take(left) if is_free else Taken()
        if taken.processes or taken.worktree:
            _remove_if_empty(attempts)
        return taken

    async def _take(self, left: Left) -> Taken:
        record = await self._blocking(last_record, self._state.attempts(left.run, left.step))
        ended = [await self._end(left, attempt, record) for attempt in left.processes]
        if not (left.has_worktree and record and await self._is_left_over(left, record)):
            return Taken(processes=sum(ended), is_waiting=left.has_worktree)
        place = recorded(record, self._state)
        more = await sweep(marker_of(place.folder))
        await log_last_words(record, place, self._environ)
        ref = await self._blocking(self._keep_and_remove, record)
        return Taken(processes=sum(ended) + more, worktree=True, ref=ref)

    async def _end(self, left: Left, attempt: int, record: Record | None) -> int:
        host = record.host if record else self._host
        if not await self._why(left.run, left.step, attempt, host):
            return 0
        return await sweep(marker_of(self._state.attempt(left.run, left.step, attempt)))

    def _keep_and_remove(self, record: Record) -> str | None:
        place = recorded(record, self._state)
        kept = record.base and record.began
        ref = place.keep_late(record.base, datetime.now(UTC)) if kept and record.base else None
        if self._begins_anew:
            place.record(began=False, agent_end=None)
        place.remove()
        return ref

    async def _is_left_over(self, left: Left, record: Record) -> bool:
        attempt = record.request.attempt
        return bool(await self._why(left.run, left.step, attempt, record.host))


def _remove_if_empty(attempts: Path) -> None:
    """Made for the lock alone, where an agent's processes outlive its records."""
    with suppress(OSError):
        attempts.rmdir()
        attempts.parent.rmdir()
