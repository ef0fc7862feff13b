"""Records, prompts and logs of ended runs, found and removed."""

import secrets
from collections.abc import Container
from datetime import datetime
from pathlib import Path

from activities.gc_scene import NotCollectedError, Scene, newest, size_of
from activities.owning import is_owned, owned_if_free
from activities.records import last_record
from activities.trash import delete
from branchwork.collecting import Doing, Kind, Leftover, Verdict, judge_run
from branchwork.names import StateFolder


class RecordLeftovers:
    """A folder a run. As long as something else of the run is left they tell what it is."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def find(self, but: Container[str]) -> list[Leftover]:
        """Of all runs `but` those."""
        folders = await self._scene.blocking(_folders, self._scene.state)
        found = [await self._named(path) for path in folders if path.name not in but]
        return [leftover for leftover in found if leftover]

    async def remove(self, leftover: Leftover) -> str:
        """Decided again; and of no step that somebody works on."""
        folder = Path(leftover.what)
        verdict = await self._judge(folder)
        if not (verdict and verdict.is_left_over):
            raise NotCollectedError("somebody uses it by now")
        await self._scene.blocking(_move_away, folder, self._scene.state.trash)
        return "removed"

    async def _named(self, folder: Path) -> Leftover | None:
        try:
            return await self._find(folder)
        except OSError as error:
            return Leftover(
                kind=Kind.RECORDS,
                what=str(folder),
                doing=Doing.LEAVE,
                reason=f"it cannot be read: {error}",
                run=folder.name,
            )

    async def _find(self, folder: Path) -> Leftover | None:
        verdict = await self._judge(folder)
        if verdict is None or await self._scene.blocking(_is_used, folder):
            return None
        is_told = await self._scene.blocking(_is_told, folder)
        return Leftover(
            kind=Kind.RECORDS,
            what=str(folder),
            doing=Doing.REMOVE if verdict.is_left_over and is_told else Doing.LEAVE,
            reason=verdict.reason if is_told else "none of its records can be read",
            run=folder.name,
            since=_since(folder),
            size_bytes=await self._scene.blocking(size_of, folder),
        )

    async def _judge(self, folder: Path) -> Verdict | None:
        since = _since(folder) or self._scene.retention.now
        return judge_run(self._scene.retention, await self._scene.standing_of(folder.name), since)


def _folders(state: StateFolder) -> list[Path]:
    return sorted(path for path in state.runs.glob("*") if path.is_dir())


def _is_used(folder: Path) -> bool:
    """Whether somebody works on one of its steps now."""
    return any(map(is_owned, _steps(folder)))


def _steps(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.is_dir()]


def _is_told(folder: Path) -> bool:
    """Whether a record tells what it is, or there is nothing to tell of."""
    return any(map(last_record, _steps(folder))) or not any(folder.glob("*/*/*"))


def _since(folder: Path) -> datetime | None:
    return newest(*folder.glob("*/*/*")) or newest(folder)


def _move_away(folder: Path, trash: Path) -> None:
    """Step by step: a lock on each of thousands at once would take too many descriptors."""
    trash.mkdir(parents=True, exist_ok=True)
    for step in _steps(folder):
        with owned_if_free(step) as is_free:
            if not is_free:
                raise NotCollectedError(f"somebody works on step {step.name} by now")
            _throw_away(step, trash)
    _throw_away(folder, trash)


def _throw_away(folder: Path, trash: Path) -> None:
    """In one step, so that no half of it is taken for the whole."""
    delete(folder.rename(trash / f"{folder.parent.name}-{folder.name}-{secrets.token_hex(8)}"))
