"""What can go wrong with git, each under a name, and whether trying again can help."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class GitError(Exception):
    """What happened to which thing, and what to do next."""

    def __init__(self, text: str, name: str = "GitFailed", *, transient: bool = False) -> None:
        super().__init__(text)
        self.name = name
        """CamelCase; the only thing that code compares."""
        self.transient = transient
        """Whether the same call may succeed later by itself."""


class _Known(NamedTuple):
    pattern: str
    name: str
    advice: str
    transient: bool = False


# Git has exit statuses for nothing of this; its words are those of LC_ALL=C.
_KNOWN = (
    _Known(
        "not a git repository|cannot change to|must be run in a work tree",
        "NotARepository",
        "name the folder of a git repository",
    ),
    _Known(
        "dubious ownership",
        "UntrustedRepository",
        "the repository belongs to another user; `git config --global --add safe.directory`"
        " with its path says that you trust it",
    ),
    _Known("No space left on device|[Qq]uota exceeded", "DiskFull", "free some space on that disk"),
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
        "invalid reference|bad revision|a valid object name|nonexistent object|bad object",
        "UnknownRevision",
        "the repository does not hold that commit (any more); fetch it",
    ),
    _Known(
        "unable to index file|[Uu]nsupported file type|could not open directory"
        "|[Uu]nable to process path",
        "UnreadableFile",
        "make it readable, or let the step remove it",
    ),
    _Known(
        "Read-only file system|[Pp]ermission denied|insufficient permission",
        "ReadOnly",
        "let this user write there",
    ),
    _Known(
        r"usage: git|unknown option|unknown switch",
        "GitTooOld",
        "this git lacks something Branchwork needs; install git 2.38 or later",
    ),
)


def fault_of(what: str, status: int, complaint: str) -> GitError:
    """The fault that `complaint`, git's stderr, tells of; GitFailed where it is not known."""
    words = _last_lines(complaint)
    for known in _KNOWN:
        if re.search(known.pattern, complaint):
            text = f"{what} failed: {words}; {known.advice}"
            return GitError(text, known.name, transient=known.transient)
    return GitError(f"{what} failed with exit status {status}: {words}")


def _last_lines(complaint: str, most: int = 3) -> str:
    """Hints and usage are for people at a terminal."""
    lines = [line.strip() for line in complaint.partition("usage: git")[0].splitlines()]
    told = [line for line in lines if line and not line.startswith("hint:")]
    wanted = [line for line in told if line.startswith(("fatal:", "error:"))] or told
    return " / ".join(wanted[-most:]) or "without a word"


_NAMES = {
    errno.ENOSPC: ("DiskFull", "free some space there"),
    errno.EDQUOT: ("DiskFull", "free some space there"),
    errno.EROFS: ("ReadOnly", "let this user write there"),
    errno.EACCES: ("ReadOnly", "let this user write there"),
    errno.EPERM: ("ReadOnly", "let this user write there"),
}


@contextmanager
def disk_faults_named(doing: str) -> Iterator[None]:
    """An OSError leaves as the GitError that git would be the cause of."""
    try:
        yield
    except OSError as error:
        name, advice = _NAMES.get(error.errno or 0, ("GitFailed", "see what is wrong there"))
        raise GitError(f"{doing} failed: {error}; {advice}", name) from error
