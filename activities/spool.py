"""What a program leaves on disk while it runs, so that others can follow it when we are gone."""

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from activities.records import write_private
from branchwork.models import Message

_KEEP_SIZE_AND_PUNCH_HOLE = 0x03
"""Linux: give blocks back, leave the file as long as it is."""
_READ_BYTES = 64 * 1024


_ROOM = b"...\n"
"""Where the exit status will stand: it is written over this, so that a full disk has room."""


class Launch(Message):
    """How a program was started; written before it is."""

    started_at: datetime
    log_bytes: int
    """The length of the log by then: what came before is of an earlier try."""


class Spool:
    """The files of one program; its wrapper writes them, see activities/launching.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stdout = folder / "stdout"
        self.stderr = folder / "stderr"
        self._pid = folder / "pid"
        self._exit = folder / "exit"
        self._launch = folder / "launch.json"

    def begin(self, launch: Launch) -> None:
        """Nothing is left of an earlier program; the files are for its owner alone."""
        # First of all: an earlier program's end is not to be taken for this one's.
        write_private(self._exit, _ROOM)
        write_private(self._launch, launch.model_dump_json().encode())
        for file in (self._pid, self.stdout, self.stderr):
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))

    def launch(self) -> Launch | None:
        """None if nothing was started, or that cannot be read."""
        try:
            return Launch.model_validate_json(self._launch.read_bytes())
        except (OSError, ValueError):
            return None

    def pid(self) -> int | None:
        """Of the wrapper; None as long as it has not begun."""
        return _number(self._pid)

    def exit_status(self) -> int | None:
        """As a shell tells it; None as long as the program runs, or if nobody could write it."""
        return _number(self._exit)

    def forget_output(self) -> None:
        """It stands in the log, without the secrets that it may hold here."""
        for stream in (self.stdout, self.stderr):
            stream.unlink(missing_ok=True)


def _number(path: Path) -> int | None:
    with suppress(OSError):
        text = path.read_bytes()
        # Without its end it is still being written.
        if text.endswith(b"\n") and text.strip().isdigit():
            return int(text)
    return None


class Growing:
    """A file that is being written, read from its beginning."""

    def __init__(self, path: Path, take: Callable[[bytes], None], most_bytes: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._take = take
        self._most_bytes = most_bytes
        self._released = self._offset = _first_data(self._descriptor)

    def read(self) -> bool:
        """Pass on one piece; whether there was one."""
        data = os.pread(self._descriptor, _READ_BYTES, self._offset)
        if not data:
            return False
        self._offset += len(data)
        self._take(data)
        if self._offset - self._released > self._most_bytes:
            self._release()
        return True

    def close(self) -> None:
        os.close(self._descriptor)

    def _release(self) -> None:
        """Give the disk back what has been read; where that cannot be done, it stays."""
        _punch_hole(self._descriptor, self._offset)
        self._released = self._offset


def _first_data(descriptor: int) -> int:
    with suppress(OSError, AttributeError):
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    return 0


def _punch_hole(descriptor: int, length: int) -> None:
    fallocate: Any = getattr(ctypes.CDLL(None), "fallocate", None)
    if fallocate:
        fallocate(
            descriptor, _KEEP_SIZE_AND_PUNCH_HOLE, ctypes.c_longlong(0), ctypes.c_longlong(length)
        )
