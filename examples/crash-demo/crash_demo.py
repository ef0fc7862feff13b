"""A run whose worker, and one of whose agents, are killed in the middle: `make crash-demo`.

It has a state folder, a server and a worker of its own, so that nobody else's runs are
touched. In the end it says what was not repeated, and where the work of the killed
agent is.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
BRANCHWORK = Path(sys.executable).with_name("branchwork")
RUN = "crash-demo"
PATIENCE_SECONDS = 120


class Demo:
    """A repository and a state folder, both in one temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "repository"
        self.state = folder / "state"
        self.ledger = folder / "ledger"
        self.environment = {
            **{name: value for name, value in os.environ.items() if _is_harmless(name)},
            "XDG_STATE_HOME": str(self.state),
            "BRANCHWORK_SERVER_PORT": str(free_port()),
            "BRANCHWORK_UI_PORT": str(free_port()),
            "CRASH_DEMO_LEDGER": str(self.ledger),
        }

    def make_repository(self) -> None:
        shutil.copytree(HERE / "tools", self.repository / "tools")
        shutil.copy(HERE / "plan.yaml", self.repository)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A plan and its agent")

    def git(self, *arguments: str) -> str:
        name = ("-c", "user.name=Branchwork demo", "-c", "user.email=demo@example.org")
        command = ["git", "-C", str(self.repository), *name, *arguments]
        environment = {**self.environment, "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout.rstrip()

    def start(self, *arguments: str, stdout: int | None = None) -> "subprocess.Popen[str]":
        command = [str(BRANCHWORK), *arguments]
        return subprocess.Popen(
            command, cwd=self.repository, env=self.environment, stdout=stdout, text=True
        )

    def branchwork(self, *arguments: str) -> int:
        return self.start(*arguments).wait()

    def tokens(self) -> list[str]:
        return self.ledger.read_text().splitlines() if self.ledger.exists() else []

    def worker(self) -> psutil.Process:
        record = self.state / "branchwork" / "worker" / "worker.json"
        return psutil.Process(json.loads(record.read_text())["pid"])

    def agent(self, step: str) -> list[psutil.Process]:
        folder = str(self.state / "branchwork" / "runs" / RUN / step)
        return [found for found in psutil.process_iter() if _prompt(found).startswith(folder)]


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="branchwork-crash-demo-"))
    demo = Demo(folder)
    # Ctrl-C is for the command that runs, which asks what is meant by it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        demo.make_repository()
        return show(demo)
    finally:
        demo.branchwork("down")
        print(f"\neverything is still in {folder}")


def show(demo: Demo) -> int:
    print(f"$ cd {demo.repository} && branchwork run plan.yaml", flush=True)
    running = demo.start("run", "plan.yaml", "--id", RUN, "--json", stdout=subprocess.PIPE)
    wait_for(lambda: {"parser started", "printer started"} <= set(demo.tokens()), running)
    time.sleep(3)
    kill(demo)
    wait_for(lambda: "parser ended" in demo.tokens(), running)
    tell("the parser's agent has ended by itself, and no worker saw it; `branchwork up`")
    demo.branchwork("up")
    answer, _ = running.communicate()
    if running.returncode or not answer:
        tell("the run did not succeed, which must not be: please report this")
        return 1
    tell_end(demo, json.loads(answer))
    return 0


def kill(demo: Demo) -> None:
    worker = demo.worker()
    tell(f"kill -9 of the worker (process {worker.pid}) and of the printer's agent")
    worker.kill()
    for process in demo.agent("printer"):
        process.kill()


def tell_end(demo: Demo, report: dict[str, Any]) -> None:
    starts = Counter(token.split()[0] for token in demo.tokens() if token.endswith("started"))
    once = [step for step, count in starts.items() if count == 1]
    again = [step for step, count in starts.items() if count > 1]
    tell(f"not repeated: {', '.join(once)}; started anew: {', '.join(again)}")
    for ref in demo.git("for-each-ref", "--format=%(refname)", "refs/branchwork").splitlines():
        if ".aside-" in ref:
            written = demo.git("diff", "--shortstat", report["base"], ref)
            print(f"what the killed agent had written is on {ref}:{written}")
    print(f"\nthe result, {report['branch']}:")
    print(demo.git("diff", "--stat", report["base"], report["branch"]))


def wait_for(condition: Callable[[], bool], running: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if running.poll() is not None or time.monotonic() > until:
            sys.exit("the run ended, or nothing happened for two minutes: please report this")
        time.sleep(0.1)


def tell(text: str) -> None:
    print(f"\n>>> {text}", flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _is_harmless(name: str) -> bool:
    """Nothing that leads to another server, repository or state."""
    return not name.startswith(("GIT_", "TEMPORAL_", "BRANCHWORK_"))


def _prompt(process: psutil.Process) -> str:
    try:
        return process.environ().get("BRANCHWORK_PROMPT_FILE", "")
    except psutil.Error:
        return ""


if __name__ == "__main__":
    sys.exit(main())
