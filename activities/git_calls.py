"""Git, called so that it leaks nothing and hangs on nothing.

Every call is one process of its own: no object is shared between threads, and no
process outlives its call.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import git as gitpython

from activities.git_faults import GitError, fault_of, not_there

GIT_SECONDS = 900
"""Bound on one git process; the checkout of a very large repository takes minutes."""

SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.filesRefLockTimeout=2000",
    "core.safecrlf=false",
    "core.fsync=committed,reference",
    "gc.auto=0",
    "maintenance.auto=false",
    "i18n.commitEncoding=UTF-8",
    "protocol.file.allow=user",
    "push.pushOption=",
    "submodule.recurse=false",
    "worktree.useRelativePaths=false",
    "advice.detachedHead=false",
)
"""Win over the repository's: it is someone else's, and the agents can write into it."""

HARMLESS_VARIABLES = frozenset(
    {
        "GIT_ASKPASS",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_EXEC_PATH",
        "GIT_PYTHON_GIT_EXECUTABLE",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_SSL_CAINFO",
    }
)
"""They choose programs and the user's settings; all others can choose another repository."""


def without_git_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without what would make git answer for another repository than asked."""
    return {name: value for name, value in environ.items() if not _misleads(name)}


def _misleads(name: str) -> bool:
    return name.startswith("GIT_") and name not in HARMLESS_VARIABLES


class _Git(gitpython.Git):
    """In a session of its own: no terminal to ask, and Ctrl-C does not end it halfway."""

    def __init__(self, folder: Path, locks: Sequence[int]) -> None:
        super().__init__(folder)
        self.locks = tuple(locks)

    def execute(self, command: Sequence[str], *args: Any, **kwargs: Any) -> Any:
        ours = {*self.environment(), *(kwargs.get("env") or ())}
        # GitPython hands on the whole environment of this process and can only add to it.
        leaking = [name for name in os.environ if _misleads(name) and name not in ours]
        if leaking:
            unset = [word for name in leaking for word in ("-u", name)]
            command = ["env", *unset, *command]
        return super().execute(
            command, *args, start_new_session=True, pass_fds=self.locks, **kwargs
        )


def git(folder: Path, locks: Sequence[int] = ()) -> gitpython.Git:
    """For one call in `folder`. Make another one for the next call: it is not to be shared.

    The call holds on to `locks`: where a git outlives its worker, so does the lock.
    """
    command = _Git(folder, locks)
    # -C fails where the folder is gone; GitPython would run in the current one then.
    command.set_persistent_git_options(C=str(folder.absolute()), c=list(SETTINGS))
    command.update_environment(GIT_TERMINAL_PROMPT="0", LC_ALL="C")
    return command


class Answer(NamedTuple):
    """What a git process that ended had to say."""

    status: int
    raw: bytes
    complaint: str
    """Its stderr."""

    @property
    def text(self) -> str:
        return decoded(self.raw).removesuffix("\n")

    @property
    def fields(self) -> list[str]:
        """Of output that `-z` ends with a NUL each."""
        return decoded(self.raw).split("\0")[:-1]


def decoded(raw: bytes) -> str:
    """Bytes that are not UTF-8 survive the way back into an argument or `encoded`."""
    return raw.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def call_git(  # noqa: PLR0913  # all but the first two by name
    folder: Path,
    command: str,
    *arguments: str,
    text: str = "",
    env: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
    seconds: float = GIT_SECONDS,
    locks: Sequence[int] = (),
) -> Answer:
    """One git process: `git <command> <arguments>` in `folder`, with `text` on its stdin.

    It holds on to `locks` until it ends, even if this process dies before.

    Raises GitError where it ends with another status than those to `accept`, or not
    within `seconds`.
    """
    start = getattr(git(folder, locks), command)
    try:
        started = start(*arguments, istream=subprocess.PIPE, as_process=True, env=env)
    except gitpython.GitCommandNotFound as error:
        raise _not_started(folder) from error
    process = cast("subprocess.Popen[bytes]", started.proc)
    out, complaint = _finish(process, encoded(text), seconds, f"git {command} in {folder}")
    answer = Answer(process.returncode, out, complaint.decode(errors="replace"))
    if answer.status not in accept:
        what = f"git {command} in {folder}"
        raise fault_of(what, answer.status, answer.complaint, _written_in(folder, env or {}))
    return answer


def _not_started(folder: Path) -> GitError:
    if shutil.which(gitpython.Git.GIT_PYTHON_GIT_EXECUTABLE or "git"):
        return not_there(f"{folder} went away while git was started there")
    return GitError("git cannot be started; install git 2.38 or later", "GitMissing")


def _written_in(folder: Path, env: Mapping[str, str]) -> Path:
    """Where a git in `folder` writes, as far as that is known without asking one."""
    if "GIT_DIR" in env:
        return Path(env["GIT_DIR"])
    own = folder / ".git"
    return own if own.is_dir() else folder


def _finish(
    process: "subprocess.Popen[bytes]", text: bytes, seconds: float, what: str
) -> tuple[bytes, bytes]:
    with process:
        try:
            return process.communicate(text, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise GitError(
                f"{what} did not end within {seconds:g} s and was stopped; see what holds it up"
                " (a filter of the repository? a disk that hangs?)",
                "GitTimedOut",
                transient=True,
            ) from error


def _end(process: "subprocess.Popen[bytes]") -> None:
    """TERM first: git then removes its lock files. KILL also what git had started."""
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
