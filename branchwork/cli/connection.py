"""Connections to a Temporal server, and what is asked of it about itself."""

import asyncio
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    GetSystemInfoRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from branchwork.cli.processes import is_pid_alive
from branchwork.contract import RUN_PLAN
from branchwork.names import RUN_QUEUE, STEP_QUEUE
from branchwork.settings import LOOPBACK, Settings

CONFIGURED_SECONDS = 15
"""What a configured server gets to answer: it may be far away."""
_LOCAL_SECONDS = 3

Say = Callable[[str], None]
"""Tells the user one sentence."""


class ServingError(Exception):
    """Server or worker cannot be had; the text says why, and what to do next."""


class UnreachableError(ServingError):
    """No Temporal answers where one should."""


class Connection(NamedTuple):
    """A server that answered."""

    client: Client
    address: str
    ui: str | None
    """Of its Web UI, without a last slash; None if it is not known."""


async def connect_configured(settings: Settings) -> Connection:
    """Raises UnreachableError; nothing is started in its place."""
    try:
        client = await _connect(settings, settings.address, CONFIGURED_SECONDS)
    except (RuntimeError, RPCError, TimeoutError, ValueError) as error:
        reason = str(error) or f"no answer within {CONFIGURED_SECONDS} s"
        raise UnreachableError(
            f"no Temporal answers at {settings.address}, which the TEMPORAL_* variables or the"
            f" profile name: {reason}; start it there, or unset them to get an embedded server"
        ) from error
    return Connection(client, settings.address, settings.ui)


async def connect_local(settings: Settings, port: int) -> Client | None:
    """None if no healthy Temporal answers on that port of this machine."""
    try:
        return await _connect(settings, f"{LOOPBACK}:{port}", _LOCAL_SECONDS)
    except (RuntimeError, RPCError, TimeoutError):
        return None


async def _connect(settings: Settings, address: str, seconds: float) -> Client:
    arguments = {**settings.connect, "target_host": address}
    async with asyncio.timeout(seconds):
        client = await Client.connect(data_converter=pydantic_data_converter, **arguments)
        # The Web UI, and even the port, are there before the frontend serves.
        if await client.service_client.check_health():
            return client
    raise TimeoutError(f"the server at {address} is not serving yet")


async def server_version(client: Client) -> str:
    return (await client.workflow_service.get_system_info(GetSystemInfoRequest())).server_version


async def keep_runs(client: Client, time: timedelta) -> None:
    """How long the server remembers runs that ended."""
    config = NamespaceConfig()
    config.workflow_execution_retention_ttl.FromTimedelta(time)
    await client.workflow_service.update_namespace(
        UpdateNamespaceRequest(namespace=client.namespace, config=config)
    )


async def runs_under_way(client: Client) -> int:
    query = f"WorkflowType = '{RUN_PLAN}' AND ExecutionStatus = 'Running'"
    return (await client.count_workflows(query)).count


async def unserved_queues(client: Client) -> list[str]:
    """Those of our task queues that no worker polls, as far as can be told."""
    wanted = (
        (RUN_QUEUE, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW),
        (STEP_QUEUE, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
    )
    return [queue for queue, kind in wanted if not await is_polled(client, queue, kind)]


async def is_polled(client: Client, queue: str, kind: TaskQueueType.ValueType) -> bool:
    """Whether a worker asks for work there, or did a few minutes ago on another host."""
    described = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
        )
    )
    return any(not _is_dead(poller.identity) for poller in described.pollers)


def _is_dead(identity: str) -> bool:
    """The server lists pollers for minutes after their death; here we can look.

    The SDK's identity is `pid@host`; of another host's or another form nothing is known.
    """
    pid, _, host = identity.partition("@")
    return host == socket.gethostname() and pid.isdecimal() and not is_pid_alive(int(pid))
