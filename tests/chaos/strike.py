"""Kills at an exact instant: called in place of git, and by the scripted agents.

A point that is armed lies in `armed/<what>/` of the world's folder; who gets to rename
it strikes, so that each strikes once. A program of its own, without the product.
"""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

KILLS = "kills.jsonl"


def arm(world: Path, what: str, point: dict[str, Any]) -> None:
    folder = world / "armed" / what
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{point['name']}.json", point)


def arm_later(world: Path, stage: str, what: str, point: dict[str, Any]) -> None:
    """To be armed when an agent reaches `stage`."""
    folder = world / "waiting" / stage
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{what}:{point['name']}", point)


def reach(world: Path, stage: str) -> None:
    """An agent is at `stage`: arm what waits for that, strike what is armed for it."""
    for path in sorted((world / "waiting" / stage).glob("*")):
        what, _, _ = path.name.partition(":")
        with suppress(FileNotFoundError):
            point = json.loads(path.read_text())
            path.unlink()
            arm(world, what, point)
    if point := taken(world, stage, ""):
        strike(world, point, host_of(world, Path.cwd()))


def host_of(world: Path, place: Path) -> str:
    """The host in whose state folder `place` lies."""
    return place.relative_to(world / "hosts").parts[0]


def _write(path: Path, point: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(point))
    partial.rename(path)


def taken(world: Path, what: str, called: str) -> dict[str, Any] | None:
    """The first point that is armed for this call, taken away for good."""
    for path in sorted((world / "armed" / what).glob("[!.]*.json")):
        with suppress(FileNotFoundError):
            point: dict[str, Any] = json.loads(path.read_text())
            if re.search(point.get("pattern", ""), called):
                path.unlink()
                return point
    return None


def strike(world: Path, point: dict[str, Any], host: str) -> None:
    """Signal the victims, oneself last: `worker`, `server`, `agent`, a pid; `machine`
    is all there are, `host` all of that host.

    What is not alive any more counts as not hit.
    """
    if point.get("for_good") and _is_last(world, host):
        point = {**point, "for_good": False}
    number = signal.Signals[point["signal"]]
    victims = [pid for name in point["victims"] for pid in _pids(world, name, host, point)]
    alive = [pid for pid in victims if is_alive(pid)]
    note(world, {"point": point, "host": host, "pids": alive, "at": time.time()})
    for pid in sorted(alive, key=lambda pid: pid == os.getpid()):
        if pid == os.getpid():
            _finish(world, host, point)
        _send(pid, number)
    _finish(world, host, point)


def _finish(world: Path, host: str, point: dict[str, Any]) -> None:
    """A machine that goes down spares nobody: those too that were being forked meanwhile."""
    whole = {"machine", "host"} & {*point["victims"]}
    while whole and point["signal"] == "SIGKILL":
        left = [pid for name in whole for pid in _pids(world, name, host, point)]
        others = [pid for pid in left if pid != os.getpid() and is_alive(pid)]
        if not others:
            return
        for pid in others:
            _send(pid, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_last(world: Path, host: str) -> bool:
    """Whether nobody could finish a run, were that host gone as well."""
    lines = (world / KILLS).read_text().splitlines() if (world / KILLS).exists() else []
    lost = {kill["host"] for kill in map(json.loads, lines) if kill["point"].get("for_good")}
    return {path.name for path in (world / "hosts").iterdir()} <= {*lost, host}


def note(world: Path, line: dict[str, Any]) -> None:
    """One write to the log of kills: none gets lost among others."""
    with (world / KILLS).open("ab", buffering=0) as log:
        log.write(json.dumps(line).encode() + b"\n")


def _pids(world: Path, victim: str, host: str, point: dict[str, Any]) -> Iterator[int]:
    match victim:
        case "agent":
            # It is the agent that calls.
            yield os.getpid()
        case "machine":
            yield from _pids_below(world)
        case "host":
            yield from _pids_below(world / "hosts" / host)
        case number if number.isdecimal():
            yield int(number)
        case "worker":
            # The one that called git: of those of a host, a zombie may be at work.
            yield point.get("caller") or int((world / "pids" / f"worker.{host}").read_text())
        case _:
            yield int((world / "pids" / victim).read_text())


def _pids_below(folder: Path) -> Iterator[int]:
    """All processes that have something in this folder in their environment."""
    for name in os.listdir("/proc"):  # noqa: PTH208  # as fast as can be
        with suppress(OSError, ValueError):
            if os.fsencode(folder) + b"/" in Path("/proc", name, "environ").read_bytes():
                yield int(name)


def is_alive(pid: int) -> bool:
    try:
        state = Path("/proc", str(pid), "stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")
