"""A whole worker in this process, with a state folder of its own."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from temporalio.client import Client

from branchwork.client import Branchwork
from branchwork.contract import RunRequest
from branchwork.labels import Labels
from branchwork.names import StateFolder, new_run_id
from branchwork.outcomes import RunReport
from branchwork.plan import Plan
from repositories import worktrees_of
from worker.build import BranchworkWorker


class Host:
    """One worker host, and what is left on it."""

    def __init__(self, client: Client, state: StateFolder) -> None:
        self.client = client
        self.runs = Branchwork(client)
        self.state = state

    async def start(self, repository: Path, plan: Mapping[str, Any], **request: Any) -> str:
        written = Plan.model_validate({"plan": "test", **plan})
        asked = RunRequest(plan=written, repository=str(repository), **request)
        return await self.runs.start(asked, new_run_id("test"))

    async def run(self, repository: Path, plan: Mapping[str, Any], **request: Any) -> RunReport:
        return await self.runs.wait(await self.start(repository, plan, **request))

    def log(self, run: str, step: str, attempt: int = 1) -> str:
        return self.state.log(run, step, attempt).read_text()

    async def leftovers(self, repository: Path, run: str) -> list[str]:
        """Worktrees, trash and processes; the trash is emptied in the background."""
        for _ in range(100):
            found = [*self._folders(), *map(str, worktrees_of(repository)), *processes_of(run)]
            if not found:
                break
            await asyncio.sleep(0.05)
        return found

    def _folders(self) -> list[str]:
        worktrees = self.state.root / "worktrees"
        return [
            str(path)
            for path in [*worktrees.glob("*"), *self.state.trash.glob("*")]
            if path.exists()
        ]


def processes_of(run: str) -> list[str]:
    """Processes that carry the run's mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BRANCHWORK_RUN") == run:
                found.append(f"{process.pid} {process.cmdline()}")
        except psutil.Error:
            continue
    return found


@asynccontextmanager
async def serving(  # noqa: PLR0913  # by name
    client: Client,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    meters: MeterProvider | None = None,
    *,
    slots: int = 8,
    labels: Labels = (),
) -> AsyncIterator[Host]:
    state = StateFolder(folder / "state")
    worker = BranchworkWorker(
        client,
        state=state,
        host="test-host",
        slots=slots,
        labels=labels,
        environ={"PATH": os.environ["PATH"], **(environ or {})},
        meters=meters or NoOpMeterProvider(),
    )
    stop = asyncio.Event()
    served = asyncio.create_task(worker.serve(stop))
    try:
        yield Host(client, state)
    finally:
        stop.set()
        await served
