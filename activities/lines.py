"""What a program prints: into its log, to whoever watches, and its end kept for the report."""

import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

LONGEST_PIECE_BYTES = 64 * 1024
"""A line that is longer is passed on in pieces."""
LOG_BYTES = 256 * 1024 * 1024
TAIL_LINES = 20
TAIL_BYTES = 4000
SHOWN_LENGTH = 200
"""Characters of a line in a heartbeat."""
SHORTEST_SECRET = 6
"""A shorter value stands in too many words to be hidden."""

_LONGEST_LINE_BYTES = 4096
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC and its kind: titles, links
    r"|[ -/]*[0-~])?"
)


def printable(line: bytes) -> str:
    """What a terminal would show in the end: no escapes, no control characters, one line."""
    text = _ESCAPES.sub("", _shown(line).decode(errors="replace"))
    return "".join(map(_printable, text))


def _shown(line: bytes) -> bytes:
    """What a line printed over and over ends with, as a progress bar is."""
    return line.rstrip(b"\r\n").rpartition(b"\r")[2][:_LONGEST_LINE_BYTES]


def _printable(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if letter.isspace() else ""


class Secrets:
    """Values that must not be seen, by the names that stand in for them: `[NAME]`.

    A value of several lines is hidden line by line, as it would be printed.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        names = {
            part: name
            for name, value in values.items()
            for line in value.splitlines()
            if len(part := line.strip()) >= SHORTEST_SECRET
        }
        parts = sorted(names, key=len, reverse=True)
        self._names = {os.fsencode(part): f"[{names[part]}]".encode() for part in parts}
        self._pattern = re.compile(b"|".join(map(re.escape, self._names))) if parts else None
        self.longest = max(map(len, self._names), default=0)
        """In bytes."""

    def hide(self, printed: bytes) -> bytes:
        if self._pattern is None:
            return printed
        return self._pattern.sub(lambda found: self._names[found[0]], printed)

    def hide_in(self, text: str) -> str:
        return self.hide(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")


class LogFile:
    """Appended to, byte by byte as it came, up to a limit; what comes after that is dropped."""

    def __init__(
        self, path: Path, limit_bytes: int = LOG_BYTES, keep_bytes: int | None = None
    ) -> None:
        """`keep_bytes`: what comes after these is written again."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        # Unbuffered, so that `logs -f` sees each line when it comes.
        self._file = open(os.open(path, flags, 0o600), "ab", buffering=0)  # noqa: SIM115, PTH123
        if keep_bytes is not None and self._file.tell() > keep_bytes:
            self._file.truncate(keep_bytes)
            self._file.seek(0, os.SEEK_END)
        self._limit_bytes = limit_bytes
        self._room_bytes = limit_bytes - self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, printed: bytes) -> None:
        if self._room_bytes <= 0 or not printed:
            return
        try:
            self._file.write(printed[: self._room_bytes])
            self._room_bytes -= len(printed)
            if self._room_bytes <= 0:
                self._file.write(self._notice())
        except OSError:
            # A full disk ends the log, not the agent.
            self._room_bytes = 0

    def _notice(self) -> bytes:
        text = (
            f"\nbranchwork: this log has reached {self._limit_bytes} bytes; the rest is dropped\n"
        )
        return text.encode()


class Printed:
    """One of a program's two streams."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._rest = b""
        self._last: deque[bytes] = deque(maxlen=TAIL_LINES)

    def take(self, data: bytes) -> bytes:
        """What can be passed on by now, secrets hidden: whole lines, or a piece of a long one."""
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        block = self._secrets.hide(whole + newline)
        if len(self._rest) > LONGEST_PIECE_BYTES:
            block += self._piece()
        return self._noted(block)

    def end(self) -> bytes:
        """What is left: a last line without its end."""
        rest, self._rest = self._secrets.hide(self._rest), b""
        return self._noted(rest)

    def tail(self) -> str:
        """Its last 20 lines, or as much of their end as fits into 4,000 bytes."""
        text = "\n".join(map(printable, self._last)).strip()
        return text.encode()[-TAIL_BYTES:].decode(errors="ignore")

    def _piece(self) -> bytes:
        """As much as cannot be the beginning of a secret."""
        hidden = self._secrets.hide(self._rest)
        cut = max(0, len(hidden) - max(0, self._secrets.longest - 1))
        self._rest = hidden[cut:]
        return hidden[:cut]

    def _noted(self, block: bytes) -> bytes:
        if block:
            lines = block.removesuffix(b"\n").rsplit(b"\n", TAIL_LINES)[-TAIL_LINES:]
            self._last.extend(map(_shown, lines))
        return block


class Capture:
    """Both streams of a program, in the order in which they arrive."""

    def __init__(self, log: LogFile, on_line: Callable[[str], None], secrets: Secrets) -> None:
        self._log = log
        self._on_line = on_line
        self.stdout = Printed(secrets)
        self.stderr = Printed(secrets)
        self._unfinished: Printed | None = None

    def take(self, stream: Printed, data: bytes) -> None:
        self._pass_on(stream, stream.take(data))

    def end(self, stream: Printed) -> None:
        self._pass_on(stream, stream.end())

    def tail(self) -> str:
        """Of stderr; of stdout if the program said nothing there."""
        return self.stderr.tail() or self.stdout.tail()

    def _pass_on(self, stream: Printed, block: bytes) -> None:
        if not block:
            return
        if self._unfinished not in (None, stream):
            self._log.write(b"\n")
        self._log.write(block)
        self._unfinished = None if block.endswith(b"\n") else stream
        if shown := printable(block.rstrip()[-LONGEST_PIECE_BYTES:].rpartition(b"\n")[2]).strip():
            self._on_line(shown[:SHOWN_LENGTH])
