"""A server, workers on hosts and a repository of a test's own, all of which may be killed.

Whatever ends is started again, as the supervisor of a platform would.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.git import without_git_variables
from branchwork.names import StateFolder
from branchwork.settings import LOOPBACK
from chaos.made import LEDGER
from chaos.programs import Program
from chaos.shim import write_shim
from chaos.strike import KILLS, strike
from conftest import SCRIPTS
from embedding import free_port
from repositories import make_repository, run_git

FILES = {f"src/{number:02}.txt": f"{number}\n" * 50 for number in range(40)}
AGENT = Path(__file__).with_name("agent.py")
GIT = shutil.which("git") or "git"
LOOK_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 120


class World:
    """Enter it to have it run; all of it ends when it is left."""

    def __init__(
        self,
        folder: Path,
        hosts: tuple[str, ...] = ("a",),
        *,
        remote: bool = False,
        away: float = 0.3,
    ) -> None:
        self.folder = folder
        self.hosts = hosts
        self._away = away
        """Seconds after which what was killed is back, at most."""
        self.repository = make_repository(folder / "repository", FILES)
        """The user's."""
        self.results = _bare(self.repository) if remote else self.repository
        """Where runs leave what they made: a bare remote, if hosts shall share it."""
        self.results_address = f"file://{self.results}" if remote else str(self.repository)
        self.address = f"{LOOPBACK}:{free_port()}"
        shim = write_shim(folder, GIT)
        self.server = Program("server", self._serving(), os.environ, folder)
        self.workers = {host: self._worker(host, shim) for host in hosts}
        self._seen_kills = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._waking: list[asyncio.Task[None]] = []

    @property
    def programs(self) -> list[Program]:
        return [self.server, *self.workers.values()]

    def state(self, host: str) -> StateFolder:
        return StateFolder(self.folder / "hosts" / host / "state" / "branchwork")

    @property
    def git_folders(self) -> list[Path]:
        """The folders of all repositories in which the product works, that are there."""
        own = self.results if self.results != self.repository else self.repository / ".git"
        clones = [self.state(host).repository(self.results_address) for host in self.hosts]
        return [folder for folder in dict.fromkeys([own, *clones]) if (folder / "HEAD").exists()]

    @property
    def lost_hosts(self) -> tuple[str, ...]:
        """Those that were killed for good."""
        return tuple(host for host in self.hosts if self.workers[host].is_gone)

    def revive(self, host: str) -> None:
        """A host that was killed for good, as it was."""
        self.workers[host].is_gone = False
        self.workers[host].start()

    async def __aenter__(self) -> Self:
        for program in self.programs:
            program.start()
        self.client = await self._connected()
        self._tasks.append(asyncio.create_task(self._supervise()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in [*self._tasks, *self._waking]:
            task.cancel()
        for program in reversed(self.programs):
            await asyncio.to_thread(program.end)
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()

    def kills(self) -> list[dict[str, Any]]:
        """What was struck so far, as it was noted."""
        log = self.folder / KILLS
        return [*map(json.loads, log.read_text().splitlines())] if log.exists() else []

    def processes(self, mark: str | None = None) -> list[psutil.Process]:
        """With `mark` in their environment: all of this world's, if it is not given."""
        return [*_with_environment(lambda text: (mark or str(self.folder)) in text)]

    def agents(self) -> list[int]:
        """The processes of living agents."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if str(AGENT) in process.cmdline():
                    found.append(process.pid)
        return found

    def kill(self, victim: str, number: signal.Signals, host: str = "", **more: Any) -> None:
        """At an instant of the caller's choice; whoever is just away is not hit."""
        name = f"some instant: {number.name} of {'agent' if victim.isdecimal() else victim}"
        point = {"name": name, "point": name, "signal": number.name, "victims": [victim], **more}
        with suppress(FileNotFoundError):
            strike(self.folder, point, host or self.hosts[0])

    async def _connected(self) -> Client:
        async with asyncio.timeout(60):
            while True:
                with suppress(RuntimeError):
                    return await Client.connect(
                        self.address, data_converter=pydantic_data_converter
                    )
                await asyncio.sleep(LOOK_SECONDS)

    async def _supervise(self) -> None:
        while True:
            self._hear_of_kills()
            for program in self.programs:
                if program.has_ended() and not program.is_gone:
                    program.process = None
                    self._tasks.append(asyncio.create_task(self._restart(program)))
            await asyncio.sleep(LOOK_SECONDS)

    async def _restart(self, program: Program) -> None:
        await asyncio.sleep(random.uniform(0, self._away))
        if not program.is_gone:
            program.start()

    def _hear_of_kills(self) -> None:
        """Who is stopped shall go on later; who is killed for good stays away."""
        kills = self.kills()
        for kill in kills[self._seen_kills :]:
            if kill["point"]["signal"] == "SIGSTOP":
                self._waking.append(asyncio.create_task(self._wake(kill)))
            if kill["point"].get("for_good"):
                self.workers[kill["host"]].is_gone = True
        self._seen_kills = len(kills)

    async def _wake(self, kill: Mapping[str, Any]) -> None:
        if kill["point"].get("successor"):
            self.workers[kill["host"]].succeed()
        await asyncio.sleep(kill["point"]["pause"])
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_PAUSE_SECONDS):
                while kill["point"].get("until_done") and not self._is_done_elsewhere(kill):
                    await asyncio.sleep(LOOK_SECONDS)
        for pid in kill["pids"]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _is_done_elsewhere(self, kill: Mapping[str, Any]) -> bool:
        """What the worker was about to do that is stopped."""
        if kill["point"]["phase"].startswith("landing"):
            return any(self.results.glob("refs/heads/branchwork/*"))
        lines = map(json.loads, (self.folder / LEDGER).read_text().splitlines())
        return any(
            line["step"] == kill["point"]["step"]
            and line["what"] == "end"
            and f"/hosts/{kill['host']}/" not in line["place"]
            for line in lines
        )

    async def all_awake(self) -> None:
        """Returns when all that were stopped go on."""
        await asyncio.gather(*self._waking)

    def _serving(self) -> list[str]:
        port = self.address.rpartition(":")[2]
        return [
            *(str(SCRIPTS / "temporal"), "server", "start-dev", "--headless"),
            *("--ip", LOOPBACK, "--port", port, "--db-filename", str(self.folder / "temporal.db")),
            *("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal"),
            *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=1000"),
            *("--dynamic-config-value", "matching.enableFairness=true"),
            *("--log-level", "warn"),
        ]

    def _worker(self, host: str, shim: Path) -> Program:
        home = self.folder / "hosts" / host
        home.mkdir(parents=True)
        kept = {
            name: value
            for name, value in without_git_variables(os.environ).items()
            if not name.startswith(("TEMPORAL_", "BRANCHWORK_"))
        }
        environment = {
            **kept,
            "TEMPORAL_ADDRESS": self.address,
            "XDG_STATE_HOME": str(home / "state"),
            "BRANCHWORK_HOST": host,
            "GIT_PYTHON_GIT_EXECUTABLE": str(shim),
        }
        command = [sys.executable, "-P", "-m", "worker"]
        return Program(f"worker.{host}", command, environment, self.folder)


def _bare(repository: Path) -> Path:
    remote = repository.with_name("remote.git")
    run_git(repository, "clone", "--quiet", "--bare", str(repository), str(remote))
    return remote


def _with_environment(holds: Callable[[str], bool]) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environment = Path("/proc", str(process.pid), "environ").read_bytes()
            if holds(environment.decode(errors="replace")) and process.status() not in _DEAD:
                yield process


_DEAD = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
