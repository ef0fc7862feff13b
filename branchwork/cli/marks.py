"""What is on disk about the embedded server and worker: their records, logs and lock."""

import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from branchwork.cli.connection import ServingError
from branchwork.cli.processes import ProcessMark, until
from branchwork.settings import LOOPBACK

_LOCK_SECONDS = 120
"""Longer than whoever holds the lock may take: starting is bounded too."""
_TAIL_BYTES = 8192
_TAIL_LINES = 12


class ServerRecord(ProcessMark):
    """The embedded server, started by one command and found by the next ones."""

    port: int
    ui_port: int
    version: str | None = None
    """Temporal's; None until it answered for the first time."""

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def ui(self) -> str:
        return f"http://{LOOPBACK}:{self.ui_port}"


class WorkerRecord(ProcessMark):
    """The worker beside the embedded server."""

    address: str
    """Of the server it was started for."""


_ROOM_BYTES = 64 * 1024

_Record = TypeVar("_Record", bound=ProcessMark)


def read_mark(path: Path, kind: type[_Record]) -> _Record | None:
    """None if there is none, or none that can be read."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def write_mark(path: Path, mark: ProcessMark) -> None:
    """Atomic: a reader sees the old one or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(mark.model_dump_json() + "\n", encoding="utf-8")
    partial.replace(path)


def require_room(folder: Path) -> None:
    """Raises OSError where no mark could be written: a process would then be found by nobody."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM_BYTES))
    except OSError as error:
        # Python does not say where.
        raise OSError(error.errno, error.strerror, str(folder)) from error


def log_tail(log: Path) -> str:
    """The last lines of a log, indented; a sentence if there are none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        lines = []
    return "\n".join(f"  {line}" for line in lines) or "  (it wrote nothing)"


def remove_mark(path: Path) -> None:
    path.unlink(missing_ok=True)


@asynccontextmanager
async def alone(folder: Path) -> AsyncIterator[None]:
    """Keep others from starting or stopping at the same time; a crash gives the lock back."""
    with _opened(folder) as descriptor:
        if not await until(lambda: _locked(descriptor), _LOCK_SECONDS):
            raise ServingError(
                f"another branchwork has been starting or stopping the server of {folder} for"
                f" {_LOCK_SECONDS} s; see what it waits for, end it, then try again"
            )
        yield


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """The folder itself is locked: no file is left over, or removed under a waiter."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
