"""The worker that Branchwork starts beside its embedded server."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from branchwork.cli.connection import Connection, Say, ServingError, unserved_queues
from branchwork.cli.marks import (
    WorkerRecord,
    log_tail,
    read_mark,
    remove_mark,
    require_room,
    write_mark,
)
from branchwork.cli.processes import WORKER, end, is_alive, start_detached
from branchwork.names import StateFolder
from branchwork.settings import Settings

PATIENCE_SECONDS = 30
"""What a worker gets to end in order: agents have 5 s of that, then their work is kept."""
_START_SECONDS = 30
_LOOK_SECONDS = 0.1


class EmbeddedWorker:
    """The worker of one state folder. Start it under the folder's lock only."""

    def __init__(self, settings: Settings, command: Sequence[str] = WORKER) -> None:
        self._state = settings.state
        self._command = command
        self.folder = StateFolder(settings.state).worker
        self.mark = self.folder / "worker.json"
        self.log = self.folder / "worker.log"

    def recorded(self) -> WorkerRecord | None:
        """Whether it still runs or not."""
        return read_mark(self.mark, WorkerRecord)

    def running(self) -> WorkerRecord | None:
        record = self.recorded()
        return record if record and is_alive(record) else None

    async def start(self, connection: Connection, say: Say) -> None:
        """Start it, or wait for the one that is there to find its server again."""
        record = self.running()
        if record and record.address != connection.address:
            say(f"the worker (process {record.pid}) serves {record.address}; replacing it")
            await end(record, PATIENCE_SECONDS)
            record = None
        await self._polling(connection, record or self._launch(connection, say))

    def _launch(self, connection: Connection, say: Say) -> WorkerRecord:
        require_room(self.folder)
        changes = {
            "TEMPORAL_ADDRESS": connection.address,
            "XDG_STATE_HOME": str(self._state.parent),
        }
        mark = start_detached(self._command, self.folder, self.log, changes)
        record = WorkerRecord(pid=mark.pid, started=mark.started, address=connection.address)
        write_mark(self.mark, record)
        say(f"starting a worker, its log is {self.log}")
        return record

    async def _polling(self, connection: Connection, record: WorkerRecord) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                while is_alive(record):
                    if not await unserved_queues(connection.client):
                        return
                    await asyncio.sleep(_LOOK_SECONDS)
        raise self._failed(record)

    def _failed(self, record: WorkerRecord) -> ServingError:
        if is_alive(record):
            return ServingError(
                f"the worker (process {record.pid}) does not ask {record.address} for work after"
                f" {_START_SECONDS} s; `branchwork down` ends it; the end of its log,"
                f" {self.log}:\n{log_tail(self.log)}"
            )
        remove_mark(self.mark)
        return ServingError(
            f"the worker ended while it started; `branchwork doctor` may know why; the end of its"
            f" log, {self.log}:\n{log_tail(self.log)}"
        )
