"""What is ready, what is not, and what to do about it. Starts and changes nothing."""

import asyncio
from pathlib import Path

from temporalio.service import RPCError

from branchwork.cli.connection import Connection, UnreachableError, unserved_queues
from branchwork.cli.embedded import find_server
from branchwork.cli.embedded_server import EmbeddedServer, temporal_binary
from branchwork.cli.embedded_worker import EmbeddedWorker
from branchwork.cli.installation import (
    Finding,
    Level,
    look_at_git,
    look_at_packages,
    look_at_python,
    look_at_repository,
    look_at_state,
    look_at_temporal,
)
from branchwork.cli.pools import look_at_pools
from branchwork.client import Branchwork
from branchwork.names import RUN_QUEUE, STEP_QUEUE, StateFolder
from branchwork.settings import Settings

__all__ = ["Finding", "Level", "diagnose"]

_MOST_NAMED = 3


async def diagnose(settings: Settings, folder: Path) -> list[Finding]:
    """Everything that was looked at, for a user who stands in `folder`."""
    connection, server = await _server(settings)
    return [
        *await asyncio.to_thread(_on_this_machine, settings),
        server,
        await _worker(settings, connection),
        *await _pools(connection),
        await asyncio.to_thread(look_at_repository, folder),
        *_stale_marks(settings),
        *await _worktrees(StateFolder(settings.state), connection),
    ]


def _on_this_machine(settings: Settings) -> list[Finding]:
    # A configured server needs no program of ours.
    temporal = [] if settings.configured else [look_at_temporal(temporal_binary())]
    found = [look_at_python(), look_at_packages(), look_at_git(), *temporal]
    return [*found, look_at_state(settings.state)]


async def _server(settings: Settings) -> tuple[Connection | None, Finding]:
    try:
        connection = await find_server(settings)
    except UnreachableError as error:
        return None, _no_server(settings, error)
    text = f"answers at {connection.address}, namespace {settings.namespace}"
    ui = f", UI {connection.ui}" if connection.ui else ""
    return connection, Finding(name="server", level=Level.OK, text=text + ui)


def _no_server(settings: Settings, error: UnreachableError) -> Finding:
    if settings.configured:
        following = "start it, or mend the TEMPORAL_* variables"
        return Finding(name="server", level=Level.ERROR, text=str(error), next=following)
    if server := EmbeddedServer(settings).running():
        return Finding(
            name="server",
            level=Level.ERROR,
            text=f"process {server.pid} runs but does not answer at {server.address}",
            next=f"see {EmbeddedServer(settings).log}; `branchwork down` ends it",
        )
    text = "not running; `branchwork run` and `branchwork up` start it"
    return Finding(name="server", level=Level.OK, text=text)


async def _worker(settings: Settings, connection: Connection | None) -> Finding:
    if connection is None:
        text = "unknown without a server" if settings.configured else "starts with the server"
        return Finding(name="worker", level=Level.OK, text=text)
    try:
        unserved = await unserved_queues(connection.client)
    except RPCError as error:
        following = f"see whether namespace {settings.namespace!r} exists there and is yours"
        return Finding(name="worker", level=Level.ERROR, text=error.message, next=following)
    if not unserved:
        text = f"polls {RUN_QUEUE} and {STEP_QUEUE}"
        return Finding(name="worker", level=Level.OK, text=text)
    return Finding(
        name="worker",
        level=Level.WARNING,
        text=f"none polls {' and '.join(unserved)}: runs started now wait",
        next=f"branchwork {'worker' if settings.configured else 'up'}",
    )


async def _pools(connection: Connection | None) -> list[Finding]:
    if connection is None:
        return []
    try:
        return await look_at_pools(connection.client)
    except RPCError:
        # Told of by the finding about the worker.
        return []


def _stale_marks(settings: Settings) -> list[Finding]:
    """Of a server and worker that ended without `branchwork down`."""
    owners = (EmbeddedServer(settings), EmbeddedWorker(settings))
    return [
        Finding(
            name="leftover",
            level=Level.WARNING,
            text=f"{owner.mark} is left of process {record.pid}, which is gone",
            next="branchwork up starts it again, branchwork down removes the file",
        )
        for owner in owners
        if (record := owner.recorded()) and not owner.running()
    ]


async def _worktrees(state: StateFolder, connection: Connection | None) -> list[Finding]:
    """Those whose run is over: nobody will come back for them."""
    there = await asyncio.to_thread(_all_worktrees, state)
    if connection is None or not there:
        return []
    try:
        over = await _over(Branchwork(connection.client), {path.parent.name for path in there})
    except RPCError:
        return []
    left = [worktree for worktree in there if worktree.parent.name in over]
    return [_left_over(left)] if left else []


def _left_over(worktrees: list[Path]) -> Finding:
    named = ", ".join(map(str, worktrees[:_MOST_NAMED]))
    more = f" and {len(worktrees) - _MOST_NAMED} more" if len(worktrees) > _MOST_NAMED else ""
    return Finding(
        name="leftover",
        level=Level.WARNING,
        text=f"worktrees of runs that are over: {named}{more}",
        next="a worker keeps their work and removes them within a minute: branchwork up; or see"
        " branchwork gc",
    )


def _all_worktrees(state: StateFolder) -> list[Path]:
    folder = state.worktree("run", "step").parent.parent
    return sorted(path for path in folder.glob("*/*") if path.is_dir())


async def _over(runs: Branchwork, names: set[str]) -> set[str]:
    """Those that this server knows to have ended; others may be another server's."""
    return {name for name in names if await runs.is_over(name)}
