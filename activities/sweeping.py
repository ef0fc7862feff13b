"""Processes by the marks in their environment: what an agent started, wherever it went.

A process group is not enough: shells of agents move to groups and sessions of
their own, and are adopted by init. The environment is inherited by all of them.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

_ROUNDS = 20
_PROC = Path("/proc")


async def sweep(marker: Mapping[str, str], grace_seconds: float = 5.0) -> int:
    """End every process that carries all of `marker`; how many there were.

    TERM, then KILL after the grace; again for what was forked meanwhile. Never this process.
    """
    found = await asyncio.to_thread(marked_processes, marker)
    if not found:
        return 0
    _each(found, psutil.Process.terminate)
    await asyncio.to_thread(psutil.wait_procs, found, grace_seconds)
    for _ in range(_ROUNDS):
        left = await asyncio.to_thread(marked_processes, marker)
        if not left:
            break
        _each(left, psutil.Process.kill)
        await asyncio.to_thread(psutil.wait_procs, left, 0.5)
    return len(found)


def marked_processes(marker: Mapping[str, str]) -> list[psutil.Process]:
    """Those of this user that carry all of `marker`, this one and zombies left out."""
    wanted = [f"{name}={value}".encode() for name, value in marker.items()]
    pids = _pids_on_linux(wanted) if _PROC.is_dir() else _pids_anywhere(marker)
    found = []
    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _pids_on_linux(wanted: list[bytes]) -> list[int]:
    """Read directly: psutil would parse every process's environment."""
    found = []
    for entry in os.scandir(_PROC):
        if entry.name.isdecimal():
            with suppress(OSError):
                environment = Path(entry.path, "environ").read_bytes().split(b"\0")
                if all(mark in environment for mark in wanted):
                    found.append(int(entry.name))
    return found


def _pids_anywhere(marker: Mapping[str, str]) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            if all(environment.get(name) == value for name, value in marker.items()):
                found.append(process.pid)
    return found


def _each(processes: list[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            act(process)
