"""The workers of a server, as it hears them."""

from collections.abc import Iterable, Mapping

from temporalio.api.workflowservice.v1 import ListWorkersRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

_PAGE = 1000


async def workers_on(client: Client, queues: Iterable[str]) -> Mapping[tuple[str, str], str] | None:
    """What each (queue, identity) let hear of itself last; another text every few seconds.

    Dead ones are listed for minutes. None from a server that keeps no workers.
    """
    found: dict[tuple[str, str], str] = {}
    try:
        for queue in queues:
            found.update(await _workers_on(client, queue))
    except RPCError as error:
        if error.status is RPCStatusCode.UNIMPLEMENTED:
            return None
        raise
    return found


async def _workers_on(client: Client, queue: str) -> dict[tuple[str, str], str]:
    answer = await client.workflow_service.list_workers(
        ListWorkersRequest(
            namespace=client.namespace, page_size=_PAGE, query=f"TaskQueue = '{queue}'"
        )
    )
    beats = [worker.worker_heartbeat for worker in answer.workers_info]
    return {
        (queue, beat.worker_identity): str(beat.heartbeat_time.ToNanoseconds())
        for beat in beats
        if beat.task_queue == queue
    }
