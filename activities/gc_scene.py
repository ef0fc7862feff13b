"""What collecting starts from: where to look, whom to ask, how long things stay."""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from activities.blocking import Blocking
from branchwork.collecting import Retention
from branchwork.names import StateFolder
from branchwork.standing import Standing


@dataclass(frozen=True)
class Scene:
    state: StateFolder
    host: str
    environ: Mapping[str, str]
    """Knows the secrets that logs must not hold."""
    repositories: tuple[Path, ...]
    """Those that this state folder's records name, and the one around the user."""
    retention: Retention
    blocking: Blocking
    standing_of: Callable[[str], Awaitable[Standing | None]]
    """None for a run that no server knows."""


class NotCollectedError(Exception):
    """Something is still there; the text says why."""


def changed_at(path: Path) -> datetime | None:
    """None if it is not there, or cannot be looked at."""
    try:
        return datetime.fromtimestamp(path.lstat().st_mtime, UTC)
    except OSError:
        return None


def newest(*paths: Path) -> datetime | None:
    return max(filter(None, map(changed_at, paths)), default=None)


def size_of(path: Path) -> int:
    """What it takes on its disk, as far as it can be read; links are not followed."""
    total = _blocks(path)
    for folder, names, files in os.walk(path):
        total += sum(_blocks(Path(folder, name)) for name in (*names, *files))
    return total


def _blocks(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0
