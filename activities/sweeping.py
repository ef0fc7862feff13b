"""Finding and ending the processes of an attempt, wherever they went.

Agents start shells in sessions of their own, which no signal to the agent's group
reaches. What all of them keep is the environment that they inherited: it is their
marker. On macOS the system hides the environment of its own programs; there those
are found by their session alone.
"""

import asyncio
import logging
import math
import os
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

GRACE_SECONDS = 5.0
"""What processes get between TERM and KILL."""
KILLING_SECONDS = 3.0
"""Bound on what comes after the grace: a process in the kernel's hands may not die at all."""

_LONGEST_PAUSE_SECONDS = 0.1
_READ_BYTES = 64 * 1024
_MOST_LOOKS = 20
_EXEC_SECONDS = 0.5
_ENV_START, _ENV_END = 47, 48
"""Fields 50 and 51 of /proc/PID/stat, counted from the one after the name."""

_log = logging.getLogger(__name__)


def marked_processes(marker: Mapping[str, str]) -> list[psutil.Process]:
    """Processes of this user that have all of `marker` in their environment.

    Without this one, without zombies, and without those whose environment
    cannot be read.
    """
    return _living(_entries(marker), None)


def is_marked(pid: int, marker: Mapping[str, str]) -> bool:
    """Whether that process lives and has all of `marker` in its environment."""
    return _belongs(pid, _entries(marker), None)


def marked_below(variable: str, folder: Path) -> dict[str, list[psutil.Process]]:
    """Processes of this user whose `variable` names a path below `folder`, by that path.

    Those left out of `marked_processes` are left out here too.
    """
    start = os.fsencode(f"\0{variable}={folder}/")
    found: dict[str, list[psutil.Process]] = {}
    for pid in _pids():
        environment = _environment(pid) if pid != os.getpid() else b""
        rest = environment.partition(start)[2].partition(b"\0")[0]
        if rest and (process := _process(pid)):
            found.setdefault(f"{folder}/{os.fsdecode(rest)}", []).append(process)
    return found


async def sweep(
    marker: Mapping[str, str], grace_seconds: float = GRACE_SECONDS, *, session: int | None = None
) -> int:
    """TERM, then KILL, the marked processes until there are none; how many there were.

    `session` adds its members, marked or not. Its leader must be a child that has
    not been reaped: until then its number cannot become someone else's. Ones that
    outlive KILL are given up after a few seconds, with an error in the log.
    """
    entries = _entries(marker)
    asked: set[psutil.Process] = set()
    met: set[psutil.Process] = set()
    began = time.monotonic()
    killed_at = math.inf
    while living := await asyncio.to_thread(_living, entries, session):
        waited = time.monotonic() - began
        if waited > killed_at + KILLING_SECONDS:
            _log.error("processes %s outlive SIGKILL", [process.pid for process in living])
            break
        if waited >= grace_seconds:
            _send(signal.SIGKILL, living, session)
            # Not counted from the grace: this process itself may have been stopped meanwhile.
            killed_at = min(killed_at, waited)
        elif asked.isdisjoint(living):
            # Not before: what those that were asked start now, they tidy up with.
            _ask(living, None if asked else session)
            asked.update(living)
        met.update(living)
        await asyncio.sleep(min(_LONGEST_PAUSE_SECONDS, 0.01 + waited / 10))
    return len(met)


def _entries(marker: Mapping[str, str]) -> tuple[bytes, ...]:
    if not marker:
        raise ValueError("an empty marker would match every process")
    return tuple(os.fsencode(f"\0{name}={value}\0") for name, value in marker.items())


def _living(entries: Iterable[bytes], session: int | None) -> list[psutil.Process]:
    """All of them: a process forked while this looks around has a number not seen before."""
    seen = {os.getpid()}
    found: list[psutil.Process] = []
    for _ in range(_MOST_LOOKS):
        new = [pid for pid in _pids() if pid not in seen]
        if not new:
            break
        seen.update(new)
        found.extend(
            process
            for pid in new
            if _belongs(pid, entries, session)
            and (process := _process(pid))
            # Again, because the number may have passed to another process meanwhile.
            and _belongs(pid, entries, session)
        )
    return found


def _pids() -> list[int]:
    if psutil.LINUX:
        # Not by pathlib, which is three times as slow: this looks at every process there is.
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
    return psutil.pids()


def _belongs(pid: int, entries: Iterable[bytes], session: int | None) -> bool:
    if session is not None:
        with suppress(OSError):
            if os.getsid(pid) == session:
                return True
    environment = _environment(pid)
    return all(entry in environment for entry in entries)


def _environment(pid: int) -> bytes:
    """With a NUL around each entry; empty if it cannot be read or is another user's."""
    with suppress(OSError, psutil.Error):
        return _environment_on_linux(pid) if psutil.LINUX else _environment_by_psutil(pid)
    return b""


def _environment_on_linux(pid: int) -> bytes:
    """In the midst of exec a process seems to have none, for a moment: then it is read again."""
    end = time.monotonic() + _EXEC_SECONDS
    while not (environment := _read_environment(pid)):
        if _has_no_environment(pid) or time.monotonic() > end:
            break
    return b"\0" + environment + b"\0"


def _read_environment(pid: int) -> bytes:
    """Bare system calls: 20 µs, a third less than with a file object; every process is asked."""
    descriptor = os.open(f"/proc/{pid}/environ", os.O_RDONLY)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(f"process {pid} is another user's")
        return b"".join(iter(lambda: os.read(descriptor, _READ_BYTES), b""))
    finally:
        os.close(descriptor)


def _has_no_environment(pid: int) -> bool:
    """Whether it was started with none. Raises OSError for a zombie or a thread of the kernel."""
    os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return fields[_ENV_START] == fields[_ENV_END] != b"0"


def _environment_by_psutil(pid: int) -> bytes:
    process = psutil.Process(pid)
    if process.uids().effective != os.geteuid():
        return b""
    entries = (f"{name}={value}" for name, value in process.environ().items())
    return os.fsencode("\0".join(("", *entries, "")))


def _process(pid: int) -> psutil.Process | None:
    """None if it has ended, a zombie included."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return process
    return None


def _ask(processes: Iterable[psutil.Process], group: int | None) -> None:
    """TERM, and once: many programs take a second one for impatience, and drop all."""
    _send(signal.SIGTERM, processes, group)
    # A stopped process gets its TERM only when it goes on.
    _send(signal.SIGCONT, processes, group)


def _send(number: signal.Signals, processes: Iterable[psutil.Process], group: int | None) -> None:
    """To `group` as a whole first: a shell must not start its next command meanwhile."""
    if group is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for process in processes:
        # psutil looks first whether the number still is this process's.
        with suppress(psutil.Error, ProcessLookupError):
            if group is None or os.getpgid(process.pid) != group:
                process.send_signal(number)
