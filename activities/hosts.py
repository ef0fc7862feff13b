"""Whether a host still has a worker, as its server hears it."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from temporalio import activity
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, ListWorkersRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.pulse import alive
from branchwork.contract import IS_SERVED, HostRequest
from branchwork.names import host_queue

HEARD_EVERY = timedelta(seconds=2)
"""How often a worker tells its server that it lives."""
_PATIENCE_SECONDS = 6.0
_LOOK_SECONDS = 0.5
_PAGE = 1000

Heard = Mapping[str, int]
"""When each worker was heard last, in ns by its own clock."""


class HostActivities:
    """For the queue of runs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn(name=IS_SERVED)
    async def is_served(self, request: HostRequest) -> bool:
        """Whether a worker of that host is heard, of now or within a few seconds.

        The server lists dead ones for minutes, so what counts is that one is heard anew;
        hosts' clocks may differ, so none is compared with ours. False is said only after
        six seconds of silence.
        """
        async with alive(activity.heartbeat):
            queue = host_queue(request.host)
            try:
                return await self._is_heard(queue)
            except RPCError as error:
                if error.status is not RPCStatusCode.UNIMPLEMENTED:
                    raise
                # A server that keeps no workers: it forgets its pollers after five minutes.
                return await self._has_pollers(queue)

    async def _is_heard(self, queue: str) -> bool:
        before = await self._heard(queue)
        for _ in range(int(_PATIENCE_SECONDS / _LOOK_SECONDS)):
            await asyncio.sleep(_LOOK_SECONDS)
            now = await self._heard(queue)
            if any(before.get(worker) != time for worker, time in now.items()):
                return True
        return False

    async def _heard(self, queue: str) -> Heard:
        answer = await self._client.workflow_service.list_workers(
            ListWorkersRequest(
                namespace=self._client.namespace, page_size=_PAGE, query=f"TaskQueue = '{queue}'"
            )
        )
        beats = [worker.worker_heartbeat for worker in answer.workers_info]
        return {
            beat.worker_instance_key: beat.heartbeat_time.ToNanoseconds()
            for beat in beats
            if beat.task_queue == queue
        }

    async def _has_pollers(self, queue: str) -> bool:
        described = await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
            )
        )
        return bool(described.pollers)
