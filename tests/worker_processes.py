"""Workers as a host has them: processes, with a state folder and a name of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from temporalio.client import Client

from activities.agents.base import MARKER
from activities.git import without_git_variables
from activities.sweeping import marked_below
from branchwork.names import StateFolder


class WorkerProcess:
    """One host's worker, which can be killed and started again."""

    def __init__(
        self,
        client: Client,
        folder: Path,
        host: str,
        *options: str,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._options = options
        self.state = StateFolder(folder / "branchwork")
        self.host = host
        self._log = folder / "worker.log"
        self._environ = {
            **{
                name: value
                for name, value in without_git_variables(os.environ).items()
                if not name.startswith(("TEMPORAL_", "BRANCHWORK_"))
            },
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            "XDG_STATE_HOME": str(folder),
            "BRANCHWORK_HOST": host,
            **(environ or {}),
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker", *self._options],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def worker_process(
    client: Client,
    folder: Path,
    host: str = "host-a",
    *options: str,
    environ: Mapping[str, str] | None = None,
) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(client, folder, host, *options, environ=environ)
    try:
        yield worker
    finally:
        worker.kill()
        end_agents(worker)


def end_agents(worker: WorkerProcess) -> None:
    """A test that failed must not leave any behind."""
    for processes in marked_below(MARKER, worker.state.runs).values():
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
