"""Servers and workers that `ensure_server` starts, on ports and in folders of a test's own."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from branchwork.settings import LOOPBACK, Settings

FAKE_WORKER = """
import asyncio, os, signal
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from branchwork.cli.leaving import leave

@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None: ...

@activity.defn
async def nothing() -> None: ...

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    runner = UnsandboxedWorkflowRunner()
    runs = Worker(client, task_queue="branchwork", workflows=[Nothing], workflow_runner=runner)
    async with runs, Worker(client, task_queue="branchwork.steps", activities=[nothing]):
        print("state in", os.environ["XDG_STATE_HOME"], flush=True)
        await stop.wait()

asyncio.run(main())
leave(0)
"""


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def settings_in(folder: Path, port: int | None = None) -> Settings:
    """Those of somebody whose state lies in `folder` and who configured no Temporal."""
    chosen = port or free_port()
    return Settings(
        state=folder / "branchwork",
        address=f"{LOOPBACK}:{chosen}",
        configured=False,
        connect={"target_host": f"{LOOPBACK}:{chosen}", "namespace": "default"},
        namespace="default",
        host="here",
        server_port=chosen,
        ui_port=free_port(),
        ui=None,
        slots=2,
    )


def fake_worker(folder: Path) -> list[str]:
    """The command of a worker that polls our queues and can do nothing."""
    script = folder / "fake_worker.py"
    script.write_text(FAKE_WORKER)
    return [sys.executable, str(script)]


def program(folder: Path, script: str) -> Path:
    """An executable shell script, in place of the Temporal program."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Whatever happens, end what was started detached below `folder`: it works there too."""
    try:
        yield
    finally:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if Path(process.cwd()).is_relative_to(folder):
                    process.kill()
