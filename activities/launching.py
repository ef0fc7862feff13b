"""Programs started so that they outlive us and their end is on record."""

import errno
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from activities.spool import Spool

_WRAPPER = Path(__file__).with_name("outlive.sh")
"""Who comes after us is not the program's parent, and could not learn how it ended."""

_HEAD_BYTES = 512
_PASSING = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR)
_REASONS = {
    errno.ENOENT: "there is no such program in its folder or PATH, or its first line names none",
    errno.EACCES: "it is not executable, or lies where it cannot be reached",
    errno.ENOEXEC: "it is no program; a script needs a first line like #!/bin/sh",
    errno.E2BIG: "command and environment are too long; the long part has to go into a file",
}


@dataclass(frozen=True)
class Program:
    """What to start, and where."""

    command: Sequence[str]
    """A program and its arguments; no shell looks at them."""
    folder: Path
    environment: Mapping[str, str]
    """All of it."""
    stdin: Path
    """A file and not a pipe: nobody has to feed it, and it outlives us."""
    spool: Spool


class CannotStartError(Exception):
    """The text names the program and the reason."""

    def __init__(self, text: str, *, transient: bool) -> None:
        super().__init__(text)
        self.transient = transient
        """Whether the machine was short of something, and the same may go well later."""


def start(program: Program) -> subprocess.Popen[bytes]:
    """Its wrapper, in a session of its own. Without an await: no cancel finds it half started."""
    spool = program.spool
    try:
        with (
            program.stdin.open("rb") as stdin,
            spool.stdout.open("ab") as stdout,
            spool.stderr.open("ab") as stderr,
        ):
            return subprocess.Popen(  # noqa: S603  # what the plan says
                ["/bin/sh", str(_WRAPPER), str(spool.folder), *_found(program)],
                bufsize=0,
                cwd=program.folder,
                env=program.environment,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
    except OSError as error:
        text = f"{program.command[0]!r} cannot be started: {_reason(error, program)}"
        raise CannotStartError(text, transient=error.errno in _PASSING) from error


def _reason(error: OSError, program: Program) -> str:
    if error.errno == errno.ENOENT and not program.folder.is_dir():
        return f"its folder {program.folder} is not there"
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def _found(program: Program) -> list[str]:
    """By its path, since a shell would take `test` or `exec` for its own.

    Raises what the system would say to whoever starts it: the wrapper could only say 126 or 127.
    """
    name, *arguments = program.command
    path = _path(name, program)
    if not path.is_file():
        raise OSError(errno.EACCES if path.is_dir() else errno.ENOENT, "no file", str(path))
    if not os.access(path, os.X_OK):
        raise OSError(errno.EACCES, "not executable", str(path))
    _require_program(path)
    return [str(path), *arguments]


def _path(name: str, program: Program) -> Path:
    if os.sep in name:
        return program.folder / name
    places = program.environment.get("PATH", os.defpath)
    found = shutil.which(name, path=places) or shutil.which(name, mode=os.F_OK, path=places)
    if found is None:
        raise OSError(errno.ENOENT, "not in PATH", name)
    return Path(found).absolute()


def _require_program(path: Path) -> None:
    """A shell would take whatever has no first line for a script of its own."""
    if not os.access(path, os.R_OK):
        return
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n")[0].split()
        if not words or not os.path.exists(words[0]):  # noqa: PTH110  # bytes
            raise OSError(errno.ENOENT, "no interpreter", str(path))
    elif b"\0" not in head:
        raise OSError(errno.ENOEXEC, "no program", str(path))
