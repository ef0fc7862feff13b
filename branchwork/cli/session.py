"""What every command starts from: settings, streams and, if it asks for one, a connection."""

import json
import os
from collections.abc import Mapping
from typing import Any

from temporalio.runtime import Runtime, TelemetryConfig

from branchwork.cli.connection import ServingError
from branchwork.cli.embedded import Connection, ensure_server, ensure_worker, find_server
from branchwork.cli.output import Output
from branchwork.client import Branchwork
from branchwork.following import Follower
from branchwork.names import StateFolder
from branchwork.settings import Settings


class Session:
    """One call of the command line."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.settings = Settings.from_environment(environ)
        self.output = Output()
        self.state = StateFolder(self.settings.state)
        self._ui: str | None = self.settings.ui

    async def client(self) -> Branchwork:
        """For commands that look at runs: nothing is started."""
        return self._through(await find_server(self.settings))

    async def find_again(self) -> Branchwork | None:
        """Where the server is now, which may have had to take another port; None if nowhere."""
        try:
            return await self.client()
        except ServingError:
            return None

    @property
    def remedy(self) -> str:
        """The command that brings a lost server or worker back; empty if they are not ours."""
        return "" if self.settings.configured else "branchwork up"

    def follower(self, runs: Branchwork, run: str) -> Follower:
        return Follower(runs, run, self.find_again)

    async def serving_client(self) -> Branchwork:
        """For commands that need runs to go on: server and worker are started if missing."""
        connection = await self.serve()
        return self._through(connection)

    async def serve(self) -> Connection:
        connection = await ensure_server(self.settings, self.output.say)
        await ensure_worker(self.settings, connection, self.output.say)
        return connection

    def _through(self, connection: Connection) -> Branchwork:
        self._ui = connection.ui
        return Branchwork(connection.client)

    def link(self, run: str) -> str | None:
        """Of the run's page in the Temporal UI, if it is known where that is."""
        if self._ui is None:
            return None
        return f"{self._ui}/namespaces/{self.settings.namespace}/workflows/{run}"

    def answer_json(self, value: Any) -> None:
        self.output.raw(json.dumps(value, indent=2, ensure_ascii=False))


def session() -> Session:
    """The command line's only look at the environment."""
    # The SDK would log to stdout, where our answers go.
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)))
    return Session(os.environ)
