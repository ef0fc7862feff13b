"""Activities of one host, called without a server, and what a dead worker leaves to them."""

import dataclasses
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opentelemetry.metrics import NoOpMeterProvider
from temporalio.testing import ActivityEnvironment

from activities.blocking import Blocking
from activities.gate import Gate
from activities.metrics import Metrics
from activities.runs import RunActivities
from activities.steps import StepActivities
from activities.workplace import Workplace
from branchwork.contract import AttemptRequest
from branchwork.names import StateFolder
from branchwork.plan import AgentSpec, Step
from repositories import head_of, make_repository


class Bench:
    """Activities of one host, called without a server."""

    def __init__(self, folder: Path) -> None:
        self.state = StateFolder(folder / "state")
        self.repository = folder / "repository"
        if not self.repository.exists():
            make_repository(self.repository)
        self.blocking = Blocking(4)
        self.runs = RunActivities(self.state, self.blocking)
        environ = {"PATH": os.environ["PATH"]}
        metrics = Metrics(NoOpMeterProvider())
        self.steps = StepActivities(
            self.state, "here", environ, self.blocking, metrics, gate=Gate(4)
        )

    def request(self, run: str, **fields: Any) -> AttemptRequest:
        step = Step.model_validate({"id": "s", "run": run, **fields})
        return AttemptRequest(
            run="run-1",
            repository=str(self.repository),
            step=step,
            agent=AgentSpec(run=run),
            attempt=1,
            base=head_of(self.repository),
        )

    def place(self, request: AttemptRequest) -> Workplace:
        return Workplace(request, self.state, host="here", workflow_run="w")

    def interrupted(self, files: dict[str, str], **update: Any) -> AttemptRequest:
        """What a worker leaves that dies while its agent writes `files`."""
        request = self.request("echo new > new").model_copy(update=update)
        place = self.place(request)
        place.record(base=place.make(), began=True)
        for name, content in files.items():
            (place.worktree / name).write_text(content)
        return request


async def call(activity: Callable[..., Any], *arguments: Any, **info: Any) -> Any:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(
        environment.info, scheduled_time=datetime.now(UTC), workflow_run_id="w", **info
    )
    return await environment.run(activity, *arguments)
