"""Find the Temporal server and the worker, start what is missing, stop what was started."""

from collections.abc import Callable, Sequence
from pathlib import Path

from branchwork.cli.connection import Connection, Say, ServingError, UnreachableError
from branchwork.cli.connection import connect_configured as _connect_configured
from branchwork.cli.connection import unserved_queues as _unserved_queues
from branchwork.cli.embedded_server import EmbeddedServer
from branchwork.cli.embedded_worker import PATIENCE_SECONDS, EmbeddedWorker
from branchwork.cli.marks import ServerRecord, WorkerRecord, alone, remove_mark
from branchwork.cli.processes import WORKER, end
from branchwork.settings import Settings

__all__ = [
    "Connection",
    "ServingError",
    "UnreachableError",
    "ensure_server",
    "ensure_worker",
    "find_server",
    "server_state",
    "stop_all",
    "worker_state",
]

_SERVER_PATIENCE_SECONDS = 10


async def find_server(settings: Settings) -> Connection:
    """For looking only: nothing is started. Raises UnreachableError if none answers."""
    if settings.configured:
        return await _connect_configured(settings)
    if found := await EmbeddedServer(settings).answering():
        return found
    raise UnreachableError(
        f"no Temporal server runs for {settings.state} and none answers at {settings.address};"
        " start one with `branchwork up`, or set TEMPORAL_ADDRESS"
    )


async def ensure_server(settings: Settings, say: Say, binary: Path | None = None) -> Connection:
    """The configured server, or one that answers on this machine, or a new one.

    `binary` replaces the Temporal program. Raises ServingError.
    """
    if settings.configured:
        return await _connect_configured(settings)
    server = EmbeddedServer(settings, binary)
    if found := await server.answering():
        return found
    async with alone(server.folder):
        # Whoever had the lock before may have started it.
        return await server.answering() or await server.start(say)


async def ensure_worker(
    settings: Settings, connection: Connection, say: Say, command: Sequence[str] = WORKER
) -> None:
    """Start a worker unless one serves our queues; a configured server has workers of its own.

    `command` replaces the worker's program. Raises ServingError.
    """
    if settings.configured or not await _unserved_queues(connection.client):
        return
    async with alone(EmbeddedServer(settings).folder):
        if await _unserved_queues(connection.client):
            await EmbeddedWorker(settings, command).start(connection, say)


async def stop_all(settings: Settings, say: Say, between: Callable[[], int] = lambda: 0) -> int:
    """Stop the worker, then the server, that `up` or `run` started; runs stay on disk.

    `between` is done when no worker is left; its exit code is the answer.
    """
    server, worker = EmbeddedServer(settings), EmbeddedWorker(settings)
    async with alone(server.folder):
        worker_stopped = await _stop("worker", worker.running(), worker.mark, PATIENCE_SECONDS, say)
        code = between()
        server_stopped = await _stop(
            "server", server.running(), server.mark, _SERVER_PATIENCE_SECONDS, say
        )
    if not (worker_stopped or server_stopped):
        say(f"neither server nor worker of {settings.state} is running")
    return code


def server_state(settings: Settings) -> ServerRecord | None:
    """The embedded server's record while its process lives."""
    return EmbeddedServer(settings).running()


def worker_state(settings: Settings) -> WorkerRecord | None:
    """The embedded worker's record while its process lives."""
    return EmbeddedWorker(settings).running()


async def _stop(
    name: str,
    record: ServerRecord | WorkerRecord | None,
    mark: Path,
    patience_seconds: float,
    say: Say,
) -> bool:
    """Whether there was something to stop."""
    if record:
        say(f"stopping the {name} (process {record.pid})")
        if not await end(record, patience_seconds):
            say(f"the {name} did not end within {patience_seconds} s and was killed")
    remove_mark(mark)
    return record is not None
