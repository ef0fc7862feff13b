"""The only module of the command line that starts processes or signals them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil
from pydantic import Field

from branchwork.models import Message

WORKER = (sys.executable, "-P", "-m", "worker")
"""`-P`, or a folder called `worker` where the user stands would be taken for ours."""

GC = (sys.executable, "-P", "-m", "worker.gc")
AGENTS = (sys.executable, "-P", "-m", "worker.agents")

_MISLEADING = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
"""Set inside git's hooks: git would answer for another repository than asked."""

_SAME_START_SECONDS = 2
"""Linux counts starts from a boot time that moves a little when the clock is set."""

_LOOK_SECONDS = 0.05
_KILL_SECONDS = 5


class GitRefusedError(Exception):
    """Git ended with an error; the text is what it said."""


class ProcessMark(Message):
    """A process, told from a later one of the same number by when it started."""

    pid: int = Field(gt=1, lt=2**31)
    started: float
    """Seconds since 1970."""


def run_git(folder: Path, *arguments: str, text: str = "") -> str:
    """What git prints. Raises GitRefusedError, or OSError if there is no git or folder."""
    # Reading must not write: `git status` would else refresh the user's index.
    environment = _environment({"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"})
    done = subprocess.run(  # noqa: S603  # arguments are ours or follow a separator
        ["git", "-C", str(folder), *arguments],  # noqa: S607  # the user's git
        env=environment,
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise GitRefusedError(said or f"git {arguments[0]} ended with {done.returncode}")
    return done.stdout


def show_git(folder: Path, *arguments: str) -> int:
    """Git on the user's own terminal, with pager and colours; its exit code."""
    sys.stdout.flush()
    command = ["git", "-C", str(folder), *arguments]
    with subprocess.Popen(command, env=_environment({})) as git:  # noqa: S603  # as above
        while True:
            # Ctrl-C is for git and its pager, which got it too.
            with suppress(KeyboardInterrupt):
                code = git.wait()
                return code if code >= 0 else 128 - code


def output_of(*command: str) -> str | None:
    """What a program prints; None if it cannot be run, fails, or takes longer than 10 s."""
    try:
        done = subprocess.run(  # noqa: S603  # the doctor's, with fixed arguments
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def become_worker(slots: int | None, labels: Sequence[str], changes: Mapping[str, str]) -> NoReturn:
    """Replace this process, so that signals reach the worker itself."""
    options = ["--slots", str(slots)] if slots else []
    options.extend(word for label in labels for word in ("--label", label))
    _become([*WORKER, *options], changes)


def become_gc(*options: str) -> NoReturn:
    """Replace this process by the program that may look at repositories and processes."""
    _become([*GC, *options], {})


def run_agents(*options: str) -> int:
    """Say of agents that run without a worker, or end them; its exit code."""
    command = [*AGENTS, *options]
    return subprocess.run(command, env=_environment({}), check=False).returncode  # noqa: S603  # our own program


def _become(command: list[str], changes: Mapping[str, str]) -> NoReturn:
    sys.stdout.flush()
    os.execve(command[0], command, _environment(changes))  # noqa: S606  # our own program


def start_detached(
    command: Sequence[str], folder: Path, log: Path, changes: Mapping[str, str]
) -> ProcessMark:
    """Start what outlives us, Ctrl-C and the terminal; its output goes to `log`.

    The log of the start before is kept as `<log>.1`. Raises OSError if there is no such program.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        log.replace(f"{log}.1")
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  # programs of our own installation
            command,
            cwd=folder,
            env=_environment(changes),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    mark = ProcessMark(pid=process.pid, started=psutil.Process(process.pid).create_time())
    # Nobody is to wait for it; without this, Python warns of that.
    process.returncode = 0
    return mark


def is_alive(mark: ProcessMark) -> bool:
    """Whether this very process runs: not another of its number, not a zombie."""
    try:
        process = psutil.Process(mark.pid)
        started, status = process.create_time(), process.status()
    except psutil.Error:
        return False
    return abs(started - mark.started) < _SAME_START_SECONDS and status != psutil.STATUS_ZOMBIE


def is_pid_alive(pid: int) -> bool:
    """Whether a process of this number runs; one that waits to be reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


async def end(mark: ProcessMark, patience_seconds: float) -> bool:
    """TERM, and KILL if it did not end in time; whether it ended in order."""
    _signal(mark, signal.SIGTERM)
    if await until(lambda: not is_alive(mark), patience_seconds):
        return True
    _signal(mark, signal.SIGKILL)
    await until(lambda: not is_alive(mark), _KILL_SECONDS)
    return False


def _signal(mark: ProcessMark, number: signal.Signals) -> None:
    if is_alive(mark):
        with suppress(ProcessLookupError):
            os.kill(mark.pid, number)


async def until(is_met: Callable[[], bool], seconds: float) -> bool:
    """Look again and again, because other processes tell no event; False if time ran out."""
    try:
        async with asyncio.timeout(seconds):
            while not is_met():  # noqa: ASYNC110  # see above
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        return False
    return True


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    """What this process has is handed on: agents need its keys."""
    kept = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    return {**kept, **changes}
