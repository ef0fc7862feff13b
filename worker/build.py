"""Everything a worker is made of, wired."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from opentelemetry.metrics import MeterProvider
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from activities.blocking import Blocking
from activities.gate import Gate
from activities.hosts import HostActivities
from activities.janitor import Janitor
from activities.metrics import Metrics
from activities.runs import RunActivities
from activities.steps import StepActivities
from branchwork.labels import Labels, subsets
from branchwork.names import RUN_QUEUE, STEP_QUEUE, StateFolder, host_queue, step_queue
from branchwork.settings import Build
from branchwork.standing import standing_of
from worker.sandbox import sandboxed
from workflows.run_plan import RunPlan

GRACE = timedelta(seconds=1)
"""Before a worker that is told to stop cancels what it runs. Agents get 5 s of their own then."""

_POLLS = 5
_FEW_POLLS = 2
"""Of a queue that is one of many: a worker with four labels serves seventeen."""


class BranchworkWorker:
    """Serves runs and their steps: a Temporal worker for each queue, so none starves another."""

    def __init__(  # noqa: PLR0913  # all but the client by name
        self,
        client: Client,
        *,
        state: StateFolder,
        host: str,
        slots: int,
        environ: Mapping[str, str],
        meters: MeterProvider,
        labels: Labels = (),
        build: Build | None = None,
    ) -> None:
        self._blocking = Blocking(slots + 4)
        self._janitor = Janitor(state, host, environ, self._blocking, partial(standing_of, client))
        gate = Gate(slots)
        steps = StepActivities(state, host, environ, self._blocking, Metrics(meters), gate=gate)
        steps.on_raised = self._janitor.wake
        self._workers = (
            self._run_worker(
                client, RunActivities(state, self._blocking), HostActivities(client), build
            ),
            *(
                self._step_worker(client, step_queue(served), steps, slots)
                for served in subsets(labels)
            ),
            # Slots of their own, so that what a host has begun never waits for new work.
            self._step_worker(client, host_queue(host), steps, slots),
        )

    async def serve(self, until: asyncio.Event) -> None:
        """Poll until told to stop, then let what runs end in order."""
        async with AsyncExitStack() as stack:
            stack.callback(self._blocking.close)
            for worker in self._workers:
                await stack.enter_async_context(worker)
            tidying = asyncio.create_task(self._janitor.tidy_for_ever())
            await until.wait()
            tidying.cancel()
            # At once: one after the other, those that wait would take up new work.
            await asyncio.gather(*(worker.shutdown() for worker in self._workers))

    def _run_worker(
        self, client: Client, runs: RunActivities, hosts: HostActivities, build: Build | None
    ) -> Worker:
        return Worker(
            client,
            task_queue=RUN_QUEUE,
            workflows=[RunPlan],
            workflow_runner=sandboxed(),
            activities=[runs.resolve_base, runs.land_run, hosts.is_served],
            max_concurrent_activities=4,
            # After a crash, the next worker waits this long for the dead one's sticky queue.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
            graceful_shutdown_timeout=GRACE,
            deployment_config=_deployment(build) if build else None,
        )

    def _step_worker(self, client: Client, queue: str, steps: StepActivities, slots: int) -> Worker:
        return Worker(
            client,
            task_queue=queue,
            activities=[steps.run_step],
            max_concurrent_activities=slots,
            max_concurrent_activity_task_polls=_POLLS if queue == STEP_QUEUE else _FEW_POLLS,
            # A cancel travels back with a heartbeat: it reaches an agent within this time.
            max_heartbeat_throttle_interval=timedelta(seconds=2),
            graceful_shutdown_timeout=GRACE,
        )


def _deployment(build: Build) -> WorkerDeploymentConfig:
    """A run stays on the build it began on: it lasts for hours, not for months.

    Steps are not bound to one: any build does them.
    """
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(build.deployment, build.id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )
