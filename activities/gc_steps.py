"""Worktrees and processes that nobody goes on with, found and taken away."""

from collections.abc import Sequence
from datetime import UTC, datetime

import psutil

from activities.gc_scene import NotCollectedError, Scene, newest, size_of
from activities.leftovers import Left
from activities.owning import is_owned
from activities.records import Record, last_record
from activities.taking_away import TakingAway
from activities.trash import empty_trash
from activities.workplace import recorded
from activities.worktrees import find_entry
from branchwork.collecting import Doing, Kind, Leftover, Trace, Verdict, judge_step
from branchwork.names import StateFolder, attempt_ref


class StepLeftovers:
    """Of steps that nobody works on at this moment; those of runs under way are not named."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._state = scene.state
        self._taking = TakingAway(scene.state, scene.host, scene.environ, scene.blocking, self._why)

    async def find(self, there: Sequence[Left]) -> list[Leftover]:
        found: list[Leftover] = []
        for left in there:
            try:
                found.extend(await self._find(left))
            except OSError as error:
                found.append(_unreadable(left, self._state, f"it cannot be read: {error}"))
        return found

    async def remove(self, leftover: Leftover) -> str:
        """What became of it. Decided again while no try of the step can start."""
        run, step, attempt = leftover.run or "", leftover.step or "", leftover.attempt or 0
        if leftover.kind is Kind.PROCESSES:
            taken = await self._taking.take(Left(run, step, False, {attempt: []}))  # noqa: FBT003  # a field
            return f"ended {taken.processes}"
        taken = await self._taking.take(Left(run, step, True, {}))  # noqa: FBT003  # likewise
        if not taken.worktree:
            raise NotCollectedError("somebody goes on with it by now")
        await self._scene.blocking(empty_trash, self._state.trash)
        return f"kept on {taken.ref}" if taken.ref else "it held no work"

    async def _find(self, left: Left) -> list[Leftover]:
        attempts = self._state.attempts(left.run, left.step)
        if is_owned(attempts):
            return []
        record = last_record(attempts)
        found = [await self._processes(left, attempt, record) for attempt in left.processes]
        if left.has_worktree:
            found.append(await self._worktree(left, record))
        return [leftover for leftover in found if leftover]

    async def _processes(self, left: Left, attempt: int, record: Record | None) -> Leftover | None:
        processes = left.processes[attempt]
        verdict = await self._judge(
            left.run, left.step, attempt, record.host if record else self._scene.host
        )
        if verdict is None:
            return None
        return Leftover(
            kind=Kind.PROCESSES,
            what=", ".join(str(process.pid) for process in processes),
            doing=Doing.END if verdict.is_left_over else Doing.LEAVE,
            reason=verdict.reason,
            run=left.run,
            step=left.step,
            attempt=attempt,
            since=min(filter(None, map(_started, processes)), default=None),
            size_bytes=sum(map(_memory, processes)),
        )

    async def _worktree(self, left: Left, record: Record | None) -> Leftover | None:
        if record is None:
            return _unreadable(left, self._state, "no record of it can be read")
        path = self._state.worktree(left.run, left.step)
        attempt = record.request.attempt
        verdict = await self._judge(left.run, left.step, attempt, record.host)
        if verdict is None:
            return None
        wrong = _unusable(record, self._scene)
        may_go = verdict.is_left_over and not wrong
        return Leftover(
            kind=Kind.WORKTREE,
            what=str(path),
            doing=Doing.REMOVE if may_go else Doing.LEAVE,
            reason=wrong or verdict.reason,
            run=left.run,
            step=left.step,
            attempt=attempt,
            repository=record.request.repository,
            since=self._last_sign(left.run, left.step, attempt),
            size_bytes=await self._scene.blocking(size_of, path),
            keeps=attempt_ref(left.run, left.step, attempt) if record.began and may_go else None,
        )

    async def _judge(self, run: str, step: str, attempt: int, host: str) -> Verdict | None:
        standing = await self._scene.standing_of(run)
        since = self._last_sign(run, step, attempt) or self._scene.retention.now
        return judge_step(self._scene.retention, standing, Trace(step, attempt, host, since))

    async def _why(self, run: str, step: str, attempt: int, host: str) -> str | None:
        verdict = await self._judge(run, step, attempt, host)
        return verdict.reason if verdict and verdict.is_left_over else None

    def _last_sign(self, run: str, step: str, attempt: int) -> datetime | None:
        folder = self._state.attempt(run, step, attempt)
        return newest(folder, *folder.glob("*"))


def _unreadable(left: Left, state: StateFolder, why: str) -> Leftover:
    path = state.worktree(left.run, left.step)
    return Leftover(
        kind=Kind.WORKTREE,
        what=str(path),
        doing=Doing.LEAVE,
        reason=f"{why}; look whether it is needed, and move it away",
        run=left.run,
        step=left.step,
        since=newest(path),
    )


def _unusable(record: Record, scene: Scene) -> str | None:
    """Why its work could not be kept now."""
    place = recorded(record, scene.state)
    if not place.repository.is_dir():
        return f"its repository {place.repository} is not there; put it back"
    if find_entry(place.repository, place.worktree) is None and any(place.worktree.glob("*")):
        return f"it is no worktree of {place.repository} any more; look whether it is needed"
    return None


def _started(process: psutil.Process) -> datetime | None:
    try:
        return datetime.fromtimestamp(process.create_time(), UTC)
    except psutil.Error:
        return None


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
