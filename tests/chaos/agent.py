"""The scripted agent: notes what it does in a ledger outside the repository.

`agent.py WORLD STEP SECONDS [TRAIT…] -- NEED…`: it writes bytes that no other try
writes, twice, and at last what follows from the steps it needs. A program of its own.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from made import LEDGER, PARTS, content
from strike import is_alive, reach


class Agent:
    def __init__(self, world: Path, step: str, traits: set[str]) -> None:
        self._world = world
        self._step = step
        self._traits = traits
        self._token = secrets.token_hex(12)

    def work(self, seconds: float, needs: list[str]) -> None:
        if "stubborn" in self._traits:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._note("begin", others=self._others_alive())
        if "child" in self._traits:
            self._leave_a_child()
        reach(self._world, f"{self._step}.start")
        self._write(PARTS[0])
        time.sleep(seconds / 2)
        reach(self._world, f"{self._step}.middle")
        if "commits" in self._traits:
            self._commit()
        self._write(PARTS[1])
        if "fails" in self._traits and os.environ["BRANCHWORK_ATTEMPT"] == "1":
            sys.exit("as the plan of this test has it")
        time.sleep(seconds / 2)
        made = [Path("out", f"{need}.txt").read_text() for need in needs]
        _put(Path("out", f"{self._step}.txt"), content(self._step, made))
        print("made", self._token, flush=True)
        reach(self._world, f"{self._step}.end")
        self._note("end")

    def _write(self, part: str) -> None:
        """First into the worktree and then into the ledger: what it tells is certainly there."""
        written = f"{self._token}-{part}"
        _put(Path("tokens", f"{self._step}-{part}"), written + "\n")
        self._note("wrote", written=written)

    def _commit(self) -> None:
        words = ["-c", "user.name=Agent", "-c", "user.email=agent@localhost"]
        subprocess.run(["git", "add", "--all"], check=True)
        subprocess.run(["git", *words, "commit", "--quiet", "--message", "halfway"], check=True)

    def _leave_a_child(self) -> None:
        child = subprocess.Popen(
            ["sleep", "120"], start_new_session=True, stdout=subprocess.DEVNULL
        )
        self._note("child", child=child.pid)

    def _others_alive(self) -> list[int]:
        """Earlier tries of this step in this worktree: there must be none."""
        ledger = self._world / LEDGER
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        mine = [
            line
            for line in map(json.loads, lines)
            if line["what"] == "begin"
            and (line["run"], line["step"], line["place"]) == self._place()
        ]
        return [line["pid"] for line in mine if is_alive(line["pid"]) and _is_agent(line["pid"])]

    def _place(self) -> tuple[str, str, str]:
        return os.environ["BRANCHWORK_RUN"], self._step, str(Path.cwd())

    def _note(self, what: str, **facts: Any) -> None:
        run, step, place = self._place()
        line = {
            "what": what,
            "run": run,
            "step": step,
            "place": place,
            "attempt": int(os.environ["BRANCHWORK_ATTEMPT"]),
            "token": self._token,
            "pid": os.getpid(),
            "parent": os.getppid(),
            "at": time.time(),
            **facts,
        }
        with (self._world / LEDGER).open("ab", buffering=0) as ledger:
            ledger.write(json.dumps(line).encode() + b"\n")


def _is_agent(pid: int) -> bool:
    """The number may have passed to another program."""
    try:
        return os.fsencode(__file__) in Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return False


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    world, step, seconds, *rest = sys.argv[1:]
    cut = rest.index("--")
    Agent(Path(world), step, {*rest[:cut]}).work(float(seconds), rest[cut + 1 :])
