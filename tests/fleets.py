"""Scripted workers of several hosts, which fall silent, stop and come back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from branchwork.client import Branchwork
from branchwork.contract import (
    AttemptEnd,
    AttemptRequest,
    Base,
    BaseRequest,
    HostRequest,
    Landing,
    LandRequest,
    Pulse,
    RunRequest,
)
from branchwork.names import RUN_QUEUE, STEP_QUEUE, host_queue
from branchwork.outcomes import Outcome, RunReport
from scripted import plan_of
from worker.sandbox import sandboxed
from workflows.run_plan import RunPlan


@dataclass
class Fleet:
    """What each turn of the only step does, and which hosts have a worker that answers."""

    turns: Sequence[str]
    """`silent on a`: beats as host a, then no more; `silent`: never beats; `stop on a`;
    `hold on a`: cannot publish what its agent made; `end`."""
    heard: Sequence[bool] = ()
    """What `is_served` finds, one after the other; the last one goes on."""
    taken: list[str] = field(default_factory=list)
    """Turn and queue of each turn that was taken up."""
    asked: list[str] = field(default_factory=list)

    @activity.defn(name="resolve_base")
    async def resolve_base(self, request: BaseRequest) -> Base:
        del request
        return Base(commit="b" * 40)

    @activity.defn(name="land_run")
    async def land_run(self, request: LandRequest) -> Landing:
        return Landing(commit="f" * 40, branch=f"branchwork/{request.run}")

    @activity.defn(name="is_served")
    async def is_served(self, request: HostRequest) -> bool:
        self.asked.append(request.host)
        return self.heard[min(len(self.asked), len(self.heard)) - 1]

    @activity.defn(name="run_step")
    async def run_step(self, request: AttemptRequest) -> AttemptEnd:
        self.taken.append(f"{request.turn} of {request.attempt} on {activity.info().task_queue}")
        act, _, host = self.turns[len(self.taken) - 1].partition(" on ")
        if act == "silent":
            if host:
                activity.heartbeat(Pulse(host=host, phase="agent"))
            await asyncio.Event().wait()
        if act == "stop":
            raise ApplicationError("the worker stopped", host, type="WorkerShutdown")
        if act == "hold":
            raise ApplicationError("no network", host, type="WorkHeld")
        now = datetime.now(UTC)
        return AttemptEnd(outcome=Outcome.SUCCEEDED, result="c" * 40, started_at=now, ended_at=now)


@asynccontextmanager
async def serving(client: Client, fleet: Fleet, hosts: Sequence[str]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            Worker(
                client,
                task_queue=RUN_QUEUE,
                workflows=[RunPlan],
                workflow_runner=sandboxed(),
                activities=[fleet.resolve_base, fleet.land_run, fleet.is_served],
            )
        )
        for queue in (STEP_QUEUE, *map(host_queue, hosts)):
            await stack.enter_async_context(
                Worker(
                    client,
                    task_queue=queue,
                    activities=[fleet.run_step],
                    max_heartbeat_throttle_interval=timedelta(seconds=0.1),
                )
            )
        yield


async def run(client: Client, fleet: Fleet, hosts: Sequence[str] = ()) -> RunReport:
    plan = plan_of({"only": ""}, lost_after="1s")
    async with serving(client, fleet, hosts):
        runs = Branchwork(client)
        return await runs.wait(await runs.start(RunRequest(plan=plan, repository="/nowhere")))
