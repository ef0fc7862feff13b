"""In place of git: the git that was asked for, or what is left of it when a point strikes.

A program of its own, without the product.
"""

import fcntl
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from strike import strike, taken

ORPHANED_SECONDS = 0.3
"""How much later than its worker's death a git goes on that outlives it."""


def as_git(world: Path, git: str, command: str, arguments: list[str]) -> int:
    """The git that was asked for, or what is left of it when a point strikes."""
    text = sys.stdin.buffer.read()
    called = " ".join(arguments) + "\n" + text.decode(errors="replace")
    point = taken(world, command, called)
    call = _Call([git, *arguments], text)
    if point is None:
        return call.run()
    host = os.environ["BRANCHWORK_HOST"]
    return _WHEN[point["when"]](world, {**point, "caller": os.getppid()}, host, call)


class _Call:
    def __init__(self, command: list[str], text: bytes) -> None:
        self._command = command
        self._text = text

    def run(self) -> int:
        return subprocess.run(
            self._command, input=self._text, check=False, pass_fds=_inherited()
        ).returncode

    def break_off(self) -> None:
        """Kill it at some instant of its short life."""
        with subprocess.Popen(
            self._command, stdin=subprocess.PIPE, pass_fds=_inherited()
        ) as process:
            with suppress(BrokenPipeError):
                process.stdin.write(self._text)
                process.stdin.close()
            time.sleep(random.uniform(0, 0.006))
            process.kill()


def _inherited() -> list[int]:
    """The locks that this call was given."""
    found = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    return [number for number in found if number > 2 and _is_open(number)]


def _is_open(number: int) -> bool:
    with suppress(OSError):
        os.fstat(number)
        return True
    return False


def _before(world: Path, point: dict[str, Any], host: str, call: _Call) -> int:
    """Whoever would have called git is gone: then there is no git."""
    strike(world, point, host)
    is_gone = point["signal"] == "SIGKILL" and {"worker", "host", "machine"} & {*point["victims"]}
    return 128 if is_gone else call.run()


def _midst(world: Path, point: dict[str, Any], host: str, call: _Call) -> int:
    """Git dies too, as when the machine goes down."""
    call.break_off()
    strike(world, point, host)
    return 128


def _orphan(world: Path, point: dict[str, Any], host: str, call: _Call) -> int:
    """Git outlives its worker and goes on beside whoever comes next."""
    strike(world, point, host)
    time.sleep(ORPHANED_SECONDS)
    return call.run()


def _after(world: Path, point: dict[str, Any], host: str, call: _Call) -> int:
    status = call.run()
    strike(world, point, host)
    return status


def _began(world: Path, point: dict[str, Any], host: str, call: _Call) -> int:
    """When the record says that an agent may be at work, and none is yet."""
    status = call.run()
    pattern = f"{_state(host)}/runs/*/{point['step']}/*/record.json"
    _detach(lambda: _strike_when(world, point, host, pattern))
    return status


def _strike_when(world: Path, point: dict[str, Any], host: str, pattern: str) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if any(b'"began":true' in path.read_bytes() for path in world.glob(pattern)):
            break
        time.sleep(0.0003)
    strike(world, point, host)


def _unremoved(world: Path, point: dict[str, Any], host: str, call: _Call) -> int:
    """Hold the worktree, so that its removal waits; strike while it does."""
    status = call.run()
    links = list(world.glob(f"{_state(host)}/worktrees/*/{point['step']}/.git"))
    entry = links[0].read_text().removeprefix("gitdir: ").strip()
    held = os.open(entry, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    _detach(lambda: (time.sleep(0.5), strike(world, point, host)), keep=held)
    return status


def _unreported(world: Path, point: dict[str, Any], host: str, call: _Call) -> int:
    """The server first: the worker removes all and cannot tell the end. Then the worker."""
    status = call.run()
    strike(world, {**point, "victims": ["server"], "name": f"{point['name']} first"}, host)
    _detach(lambda: (time.sleep(0.7), strike(world, point, host)))
    return status


def _state(host: str) -> str:
    return f"hosts/{host}/state/branchwork"


def _detach(later: Any, keep: int = -1) -> None:
    """`later` in a process that nobody waits for and that holds nothing open but `keep`."""
    if os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(256):
        if number not in (keep, null):
            with suppress(OSError):
                os.close(number)
    later()
    os._exit(0)


_WHEN = {
    "before": _before,
    "midst": _midst,
    "orphan": _orphan,
    "after": _after,
    "began": _began,
    "unremoved": _unremoved,
    "unreported": _unreported,
}

if __name__ == "__main__":
    sys.exit(as_git(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
