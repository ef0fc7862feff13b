"""The command line as a user has it: processes, with a state folder and ports of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from activities.git import without_git_variables
from embedding import free_port

BRANCHWORK = Path(sys.executable).with_name("branchwork")
SECONDS = 90


class Commands:
    """`branchwork` in a repository."""

    def __init__(self, repository: Path, state: Path) -> None:
        self.repository = repository
        self.environment = {
            **{
                name: value
                for name, value in without_git_variables(os.environ).items()
                if not name.startswith(("TEMPORAL_", "BRANCHWORK_"))
            },
            "XDG_STATE_HOME": str(state),
            "BRANCHWORK_SERVER_PORT": str(free_port()),
            "BRANCHWORK_UI_PORT": str(free_port()),
            "NO_COLOR": "1",
        }

    @classmethod
    def beside(cls, others: "Commands", repository: Path) -> "Commands":
        """In another repository, with the same server and worker."""
        commands = cls(repository, Path())
        commands.environment = others.environment
        return commands

    def __call__(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BRANCHWORK), *arguments],
            cwd=self.repository,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def start(self, *arguments: str, stdout: int = subprocess.PIPE) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(BRANCHWORK), *arguments],
            cwd=self.repository,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def plan(self, text: str, name: str = "plan.yaml") -> str:
        (self.repository / name).write_text(text)
        return name

    def until_step(self, run: str, step: str, status: str) -> None:
        for _ in range(SECONDS * 5):
            report = self.json("status", run)
            for found in report["steps"]:
                if found["step"] == step and status in (found["status"], found["outcome"]):
                    return
            time.sleep(0.2)
        raise AssertionError(f"{step} never was {status}: {report}")

    def down(self) -> None:
        self("down", "--agents")


@contextmanager
def commands_in(repository: Path, state: Path) -> Iterator[Commands]:
    commands = Commands(repository, state)
    try:
        yield commands
    finally:
        commands.down()


def interrupt(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
