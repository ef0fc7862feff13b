"""The log of an attempt: what its agent printed, line by line."""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

MOST_BYTES = 256 << 20
"""Beyond this an agent's output is read, so that it goes on, and dropped."""

_CHUNK_BYTES = 1 << 16
_LAST = 20


class OutputLog:
    """Whole lines of both streams in the order of their arrival, and the last ones at hand."""

    def __init__(
        self, path: Path, hide: Callable[[bytes], bytes], on_line: Callable[[bytes], None]
    ) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        self._left = MOST_BYTES
        self._hide = hide
        self._on_line = on_line
        self.lines: deque[bytes] = deque(maxlen=_LAST)
        """The last ones of both streams."""
        self.errors: deque[bytes] = deque(maxlen=_LAST)
        """The last ones of stderr."""

    async def listen(self, stream: asyncio.StreamReader, *, is_stderr: bool) -> None:
        """Until the stream ends. A line that never ends is cut into pieces."""
        rest = b""
        while chunk := await stream.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._add(line + b"\n", is_stderr=is_stderr)
            if len(rest) >= _CHUNK_BYTES:
                self._add(rest, is_stderr=is_stderr)
                rest = b""
        if rest:
            self._add(rest, is_stderr=is_stderr)

    def close(self) -> None:
        self._file.close()

    def _add(self, line: bytes, *, is_stderr: bool) -> None:
        shown = self._hide(line)
        self.lines.append(shown)
        if is_stderr:
            self.errors.append(shown)
        self._on_line(shown)
        self._write(shown)

    def _write(self, line: bytes) -> None:
        if self._left <= 0:
            return
        self._left -= len(line)
        notice = b"\n[the log ends here: it has grown too large]\n" if self._left <= 0 else b""
        self._file.write(line + notice)
