"""Activities that play a script instead of running agents, for tests of the workflow."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

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
    Landing,
    LandRequest,
    RunRequest,
)
from branchwork.limits import bounded_end
from branchwork.names import RUN_QUEUE, STEP_QUEUE, new_run_id
from branchwork.outcomes import Outcome, RunReport
from branchwork.plan import Plan
from worker.sandbox import sandboxed
from workflows.run_plan import RunPlan

BASE = "b" * 40


@dataclass
class Script:
    """What each step's attempts do, in order; the last act goes on. Unnamed steps succeed."""

    acts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    base_fails: str | None = None
    base_never_comes: bool = False
    base_waits: bool = False
    """For `release`."""
    landing_fails: str | None = None
    text: str = ""
    """Of the failures of base and landing."""
    started: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    based: list[BaseRequest] = field(default_factory=list)
    needs: dict[str, dict[str, str]] = field(default_factory=dict)
    """By step: the commits it was handed, by the steps that made them."""
    landed: list[LandRequest] = field(default_factory=list)
    most_at_once: int = 0
    running: int = 0
    returned: dict[str, str] = field(default_factory=dict)
    output: dict[str, Any] | None = None
    release: asyncio.Event = field(default_factory=asyncio.Event)

    @activity.defn(name="resolve_base")
    async def resolve_base(self, request: BaseRequest) -> Base:
        self.based.append(request)
        if self.base_waits:
            await self.release.wait()
        if self.base_never_comes:
            raise ApplicationError("busy", type="Locked")
        if self.base_fails:
            text = self.text or "no such base"
            raise ApplicationError(text, type=self.base_fails, non_retryable=True)
        return Base(commit=BASE)

    @activity.defn(name="land_run")
    async def land_run(self, request: LandRequest) -> Landing:
        self.landed.append(request)
        if self.landing_fails:
            raise ApplicationError(self.text or "a.py", type=self.landing_fails, non_retryable=True)
        return Landing(commit="f" * 40, branch=f"branchwork/{request.run}")

    @activity.defn(name="run_step")
    async def run_step(self, request: AttemptRequest) -> AttemptEnd:
        self.started.append(request.step.id)
        self.needs[request.step.id] = {need.step: need.commit for need in request.needs}
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        beats = asyncio.create_task(_beat())
        try:
            end = await self._play(request)
        except asyncio.CancelledError:
            end = self._cancelled(request)
        else:
            self.returned[request.step.id] = str(end.outcome)
            return end.model_copy(update={"output": self.output})
        finally:
            beats.cancel()
            self.running -= 1
            self.ended.append(request.step.id)
        return end

    def _cancelled(self, request: AttemptRequest) -> AttemptEnd:
        match self.acts.get(request.step.id, ("succeed",))[0]:
            case "hang_then_fail":
                return _end(request, Outcome.FAILED, "AgentFailed: exit 1")
            case "hang_then_stop":
                raise ApplicationError("the worker stopped", type="WorkerShutdown")
        return _end(request, Outcome.CANCELLED, "Cancelled")

    async def _play(self, request: AttemptRequest) -> AttemptEnd:
        acts = self.acts.get(request.step.id, ("succeed",))
        match acts[min(request.attempt, len(acts)) - 1]:
            case "fail":
                return _end(request, Outcome.FAILED, "AgentFailed: exit 3")
            case "fail_for_good":
                return _end(request, Outcome.FAILED, "CannotStart: no such program", again=False)
            case "time_out":
                return _end(request, Outcome.TIMED_OUT, "TimedOut: no end after 1s")
            case "break":
                raise ApplicationError("a.py is in conflict", type="Conflict", non_retryable=True)
            case "break_at_length":
                raise ApplicationError("x" * 3_000_000, type="Lengthy", non_retryable=True)
            case "fail_at_length":
                return bounded_end(_end(request, Outcome.FAILED, "Lengthy: " + "x" * 3_000_000))
            case "hang" | "hang_then_fail" | "hang_then_stop":
                await asyncio.Event().wait()
            case "slow":
                await self.release.wait()
            case "slow_fail":
                await self.release.wait()
                return _end(request, Outcome.FAILED, "AgentFailed: exit 3")
        return _end(request, Outcome.SUCCEEDED, None)


async def _beat() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.05)


def _end(
    request: AttemptRequest, outcome: Outcome, reason: str | None, *, again: bool = True
) -> AttemptEnd:
    now = datetime.now(UTC)
    return AttemptEnd(
        outcome=outcome,
        reason=reason,
        again=again,
        base=request.base,
        result=f"{request.step.id}-{request.attempt}",
        started_at=now,
        ended_at=now,
    )


@asynccontextmanager
async def playing(client: Client, script: Script) -> AsyncIterator[None]:
    runs = Worker(
        client,
        task_queue=RUN_QUEUE,
        workflows=[RunPlan],
        workflow_runner=sandboxed(),
        activities=[script.resolve_base, script.land_run],
    )
    steps = Worker(
        client,
        task_queue=STEP_QUEUE,
        activities=[script.run_step],
        max_heartbeat_throttle_interval=timedelta(seconds=0.1),
    )
    async with runs, steps:
        yield


def plan_of(steps: Mapping[str, Any], **fields: Any) -> Plan:
    """`{"a": "", "b": "a", "c": {"needs": ["a"], "optional": True}}` as a plan."""
    written = [
        {"id": name, "run": "true", **(_needs(more) if isinstance(more, str) else more)}
        for name, more in steps.items()
    ]
    return Plan.model_validate({"plan": "test", "steps": written, **fields})


def _needs(names: str) -> dict[str, Any]:
    return {"needs": names.split()}


async def run(client: Client, plan: Plan, script: Script) -> RunReport:
    async with playing(client, script):
        runs = Branchwork(client)
        return await runs.wait(await runs.start(RunRequest(plan=plan, repository="/nowhere")))


@asynccontextmanager
async def started(
    client: Client, plan: Plan, script: Script, **request: Any
) -> AsyncIterator[tuple[Branchwork, str]]:
    """A run under way, and the client to steer it with."""
    async with playing(client, script):
        runs = Branchwork(client)
        run_id = new_run_id("test")
        asked = RunRequest(plan=plan, repository="/nowhere", **request)
        yield runs, await runs.start(asked, run_id)


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Returns when `condition` holds; TimeoutError if it never does."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def outcomes(report: RunReport) -> dict[str, str]:
    return {step.step: str(step.outcome) for step in report.steps}


def reason(report: RunReport, step: str) -> str:
    return next(found.reason or "" for found in report.steps if found.step == step)
