"""What can go wrong with git, each under a name, and whether trying again can help."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class GitError(Exception):
    """What happened to which thing, and what to do next."""

    def __init__(
        self, text: str, name: str = "GitFailed", *, transient: bool = False, advice: str = ""
    ) -> None:
        super().__init__(f"{text}; {advice}" if advice else text)
        self.name = name
        """CamelCase; the only thing that code compares."""
        self.transient = transient
        """Whether the same call may succeed later, by itself or once there is room again."""
        self.told = text
        """What happened, without the advice."""


class _Known(NamedTuple):
    pattern: str
    name: str
    advice: str
    transient: bool = False


_NAME_ONE = "name the folder of a git repository"

# Git has exit statuses for nothing of this; its words are those of LC_ALL=C. The first that fits.
_KNOWN = (
    _Known(
        "not a git repository|cannot change to|must be run in a work tree"
        "|unable to create temporary file: No such file",
        "NotARepository",
        _NAME_ONE,
    ),
    _Known(
        "dubious ownership",
        "UntrustedRepository",
        "the repository belongs to another user; `git config --global --add safe.directory`"
        " with its path says that you trust it",
    ),
    _Known(
        "No space left on device|[Qq]uota exceeded|Out of diskspace",
        "DiskFull",
        "free some space on that disk",
        transient=True,
    ),
    _Known(
        "Input/output error|Structure needs cleaning|Stale file handle"
        "|Transport endpoint is not connected|Host is down",
        "DiskFailed",
        "see whether that disk is sound, and mounted",
        transient=True,
    ),
    _Known(
        "Read-only file system|insufficient permission",
        "ReadOnly",
        "let this user write there",
    ),
    _Known(
        r"Unable to create '.*\.lock': File exists|failed to read .*/commondir",
        "Locked",
        "another git process is at work there; if there is none, a dead one left its lock:"
        " remove the file that is named",
        transient=True,
    ),
    _Known(
        "reference already exists|is at .* but expected|exists; cannot create",
        "RefTaken",
        "that ref holds something else already",
    ),
    _Known(
        r"is corrupt|corrupt\b.* object|unable to unpack|object file .* is empty|inflate: "
        r"|unable to read (tree|sha1 file)|bad tree object|[Cc]ould not read [0-9a-f]{40}"
        r"|invalid object [0-7]{6}|index file (corrupt|smaller)|bad (index file|signature)"
        r"|packfile .* (cannot|does not|is)|missing (blob|tree|commit) object",
        "BrokenRepository",
        "`git fsck` there tells what is broken; fetch it from a clone that has it"
        " (`git fetch --refetch`)",
    ),
    _Known(
        "invalid reference|bad revision|a valid object name|nonexistent object|bad object"
        "|Not a valid commit name|is not a valid object|not something we can merge",
        "UnknownRevision",
        "the repository does not hold that commit (any more); fetch it",
    ),
    _Known(
        "unable to index file|[Uu]nsupported file type|could not open directory"
        "|[Uu]nable to process path",
        "UnreadableFile",
        "make it readable, or let the step remove it",
    ),
    _Known("[Pp]ermission denied", "ReadOnly", "let this user write there"),
    _Known(
        r"usage: git|unknown option|unknown switch",
        "GitTooOld",
        "this git lacks something Branchwork needs; install git 2.38 or later",
    ),
)

_WORDLESS = re.compile("unable to|could not|couldn't|cannot|failed to|write err")
"""Git often says that it could not write, and not why."""


def fault_of(what: str, status: int, complaint: str, folder: Path | None = None) -> GitError:
    """The fault that `complaint`, git's stderr, tells of; GitFailed where it is not known.

    `folder` is where git wrote. If it is gone, so is what git complains about; where git
    could not write and does not say why, it is tried there.
    """
    words = _last_lines(complaint)
    if folder and not folder.is_dir():
        return not_there(f"{what} failed: {words}")
    for known in _KNOWN:
        if re.search(known.pattern, complaint):
            text = f"{what} failed: {words}"
            return GitError(text, known.name, transient=known.transient, advice=known.advice)
    if folder and _WORDLESS.search(complaint) and (error := refusal(folder)):
        return disk_fault(f"{what} failed: {words}: {error.strerror}", error)
    return GitError(f"{what} failed with exit status {status}: {words}")


def not_there(text: str) -> GitError:
    return GitError(text, "NotARepository", advice=_NAME_ONE)


def refusal(folder: Path) -> OSError | None:
    """Why nothing can be written in `folder`; None if it can. Leaves no file."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def _last_lines(complaint: str, most: int = 3) -> str:
    """Hints and usage are for people at a terminal."""
    lines = [line.strip() for line in complaint.partition("usage: git")[0].splitlines()]
    told = [line for line in lines if line and not line.startswith("hint:")]
    wanted = [line for line in told if line.startswith(("fatal:", "error:"))] or told
    return " / ".join(wanted[-most:]) or "without a word"


_PROBE_BYTES = 1024 * 1024
"""More than a git that failed gives back when it tidies up after itself."""

_FULL = ("DiskFull", "free some space on that disk")
_FAILED = ("DiskFailed", "see whether that disk is sound, and mounted")
_READ_ONLY = ("ReadOnly", "let this user write there")
_NAMES = {
    "ENOSPC": _FULL,
    "EDQUOT": _FULL,
    "EIO": _FAILED,
    "EUCLEAN": _FAILED,
    "ESTALE": _FAILED,
    "ENOTCONN": _FAILED,
    "EROFS": _READ_ONLY,
    "EACCES": _READ_ONLY,
    "EPERM": _READ_ONLY,
}
"""By name: not every system has them all."""


def disk_fault(text: str, error: OSError) -> GitError:
    """`text` as a fault with the name and the advice that the error's number has."""
    name, advice = _NAMES.get(
        errno.errorcode.get(error.errno or 0, ""), ("GitFailed", "see what is wrong there")
    )
    return GitError(text, name, transient=name in ("DiskFull", "DiskFailed"), advice=advice)


@contextmanager
def disk_faults_named(doing: str) -> Iterator[None]:
    """An OSError that tells of a disk leaves as the GitError that git would be the cause of."""
    try:
        yield
    except OSError as error:
        if errno.errorcode.get(error.errno or 0) not in _NAMES:
            raise
        raise disk_fault(f"{doing} failed: {error}", error) from error


_UNDER_WAY = {
    "NotARepository": ("RepositoryGone", "put it back where it was, and the run goes on"),
    "ReadOnly": ("ReadOnly", "let this user write there, and the run goes on"),
    "UntrustedRepository": (
        "UntrustedRepository",
        "the repository has come to belong to another user; give it back, and the run goes on",
    ),
    "RemoteRefused": (
        "RemoteRefused",
        "let the worker's user fetch and push there without a question, and the run goes on",
    ),
}


def while_under_way(error: GitError) -> GitError:
    """What its user is told at once when a run starts, one that is under way waits for.

    Agents have worked by then: the run does not end for what someone can mend beside it.
    """
    if error.name not in _UNDER_WAY:
        return error
    name, advice = _UNDER_WAY[error.name]
    return GitError(error.told, name, transient=True, advice=advice)
