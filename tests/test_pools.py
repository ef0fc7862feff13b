"""Pools: steps that only workers with certain labels may run."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from activities.gate import Gate
from branchwork.client import Branchwork
from branchwork.contract import RunRequest
from branchwork.following import Follower
from branchwork.labels import bad_labels, subsets
from branchwork.names import new_run_id, step_queue
from branchwork.plan import Plan
from branchwork.requests import needed_labels
from branchwork.settings import Settings, SettingsError
from commands import Commands, commands_in
from repositories import files_of, make_repository
from worker_processes import WorkerProcess, worker_process
from workers import serving

NEVER_TWO = """
mkdir {place}/inside || {{ echo two at once >&2; exit 1; }}
sleep 0.7
rmdir {place}/inside
"""
"""An agent that fails if another of its kind is at work."""


def plan(*steps: dict[str, Any], **fields: Any) -> Plan:
    return Plan.model_validate({"plan": "demo", "steps": steps, **fields})


def test_a_step_wins_over_its_agent_and_that_over_the_defaults() -> None:
    made = plan(
        {"id": "own", "agent": "trained", "runs_on": ["linux", "big"]},
        {"id": "agents", "agent": "trained"},
        {"id": "defaults", "agent": "plain"},
        {"id": "command", "run": "true"},
        {"id": "anywhere", "agent": "trained", "runs_on": []},
        agents={"trained": {"run": "true", "runs_on": ["gpu"]}, "plain": "true"},
        defaults={"runs_on": ["cheap"]},
    )

    assert {step.id: made.labels_of(step) for step in made.steps} == {
        "own": ("big", "linux"),
        "agents": ("gpu",),
        "defaults": ("cheap",),
        "command": ("cheap",),
        "anywhere": (),
    }
    assert needed_labels(made) == [("big", "linux"), ("cheap",), ("gpu",)]
    assert Plan.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("labels", "wrong"),
    [
        (["GPU"], "'GPU' is not a label"),
        (["a+b"], "'a\\+b' is not a label"),
        ([""], "'' is not a label"),
        (["a", "b", "c", "d", "e"], "5 labels are too many, at most 4"),
        ("gpu", r"write \[gpu\]"),
    ],
)
def test_labels_that_no_queue_could_have_are_refused(labels: Any, wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        plan({"id": "a", "run": "true", "runs_on": labels})


def test_a_worker_serves_every_subset_of_its_labels() -> None:
    assert [step_queue(labels) for labels in subsets(("gpu", "linux"))] == [
        "branchwork.steps",
        "branchwork.steps.gpu",
        "branchwork.steps.linux",
        "branchwork.steps.gpu+linux",
    ]
    assert len(list(subsets(("a", "b", "c", "d")))) == 16
    assert bad_labels(["a", "b", "c", "d"]) is None


def test_labels_of_the_environment_are_read_and_checked(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "BRANCHWORK_LABELS": "linux, gpu,gpu,"}

    assert Settings.from_environment(environ).labels == ("gpu", "linux")
    with pytest.raises(SettingsError, match="BRANCHWORK_LABELS: 'G P U' is not a label"):
        Settings.from_environment({**environ, "BRANCHWORK_LABELS": "G P U"})


async def test_the_gate_sends_back_who_waits_long_and_lets_in_who_comes_next() -> None:
    gate = Gate(1, wait_seconds=0.05)
    await gate.enter()

    with pytest.raises(ApplicationError, match="slot") as sent_back:
        await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    gate.leave()
    await waiting

    assert (sent_back.value.type, sent_back.value.non_retryable) == ("NoSlot", False)
    assert gate.is_full()


def worked_at(host: WorkerProcess, run: str) -> set[str]:
    return {path.name for path in (host.state.runs / run).glob("*")}


async def test_steps_run_on_the_workers_that_have_their_labels(
    client: Client, tmp_path: Path
) -> None:
    repository = make_repository(tmp_path / "repository")
    written = plan(
        {"id": "train", "agent": "trainer"},
        {"id": "exact", "run": "echo > exact", "runs_on": ["linux", "gpu"], "needs": ["train"]},
        {"id": "test", "run": "echo > test", "runs_on": ["linux"], "needs": ["train"]},
        {"id": "small", "run": "echo > small", "runs_on": ["small"], "needs": ["exact", "test"]},
        agents={"trainer": {"run": "echo > train", "runs_on": ["gpu"]}},
    )

    with ExitStack() as stack:
        hosts = [
            stack.enter_context(worker_process(client, tmp_path / name, name, *options))
            for name, options in (
                ("large", ("--label", "gpu", "--label", "linux")),
                ("little", ("--label", "small")),
            )
        ]
        runs = Branchwork(client)
        request = RunRequest(plan=written, repository=str(repository))
        report = await runs.wait(await runs.start(request, new_run_id("demo")))

    assert report.outcome == "succeeded", report
    assert worked_at(hosts[0], report.run) == {"train", "exact", "test"}
    assert worked_at(hosts[1], report.run) == {"small"}
    assert files_of(repository, str(report.branch)).keys() == {
        *("README", "train", "exact", "test", "small")
    }


async def test_no_more_attempts_than_slots_run_at_once_whatever_their_queues(
    client: Client, tmp_path: Path
) -> None:
    repository = make_repository(tmp_path / "repository")
    agent = NEVER_TWO.format(place=tmp_path)
    steps = [
        {"id": f"{name}{number}", "run": agent, "runs_on": labels}
        for name, labels in (("any", []), ("gpu", ["gpu"]))
        for number in range(2)
    ]
    phases: set[str] = set()

    async with serving(client, tmp_path, slots=1, labels=("gpu",)) as host:
        run = await host.start(repository, {"steps": steps})
        async for sight in Follower(host.runs, run).sights(0.1):
            phases.update(seen.pulse.phase for seen in sight.activities.values() if seen.pulse)
        report = await host.runs.wait(run)

    assert report.outcome == "succeeded", [step.reason for step in report.steps]
    assert "queued" in phases


async def test_a_step_that_waits_for_a_slot_is_cancelled_at_once(
    client: Client, tmp_path: Path
) -> None:
    repository = make_repository(tmp_path / "repository")
    steps = [
        {"id": "long", "run": "sleep 300"},
        {"id": "late", "run": "sleep 300", "runs_on": ["gpu"]},
    ]

    async with serving(client, tmp_path, slots=1, labels=("gpu",)) as host:
        run = await host.start(repository, {"steps": steps})
        async with asyncio.timeout(60):
            async for sight in Follower(host.runs, run).sights(0.1):
                if len(sight.activities) == 2 and all(a.pulse for a in sight.activities.values()):
                    break
            await host.runs.cancel(run)
            report = await host.runs.wait(run)

    assert report.outcome == "cancelled"
    assert {step.outcome for step in report.steps} == {"cancelled"}
    assert await host.leftovers(repository, run) == []


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with commands_in(make_repository(tmp_path / "repository"), tmp_path / "state") as commands:
        yield commands


def test_a_run_says_that_no_worker_has_the_labels_and_waits_for_one(commands: Commands) -> None:
    written = commands.plan(
        "{plan: p, steps: [{id: a, run: echo > made, runs_on: [gpu], creates: [made]}]}"
    )

    started = commands("run", written, "--detach", "--id", "p-waits")
    looked = {finding["name"]: finding for finding in commands.json("doctor")}
    worker = commands.start("worker", "--label", "gpu")
    try:
        watched = commands("watch", "p-waits")
    finally:
        worker.terminate()
        worker.communicate(timeout=60)

    remedy = "branchwork worker --label gpu"
    assert started.returncode == 0
    assert f"no worker serves runs_on: [gpu]; start one with `{remedy}`" in started.stderr
    assert looked["pool"]["level"] == "warning"
    assert looked["pool"]["next"] == remedy
    assert "p-waits" in looked["pool"]["text"]
    assert watched.returncode == 0, watched.stderr


@pytest.mark.parametrize("labels", ["abcde", "A"])
def test_a_worker_with_labels_that_cannot_be_served_does_not_start(
    commands: Commands, labels: str
) -> None:
    refused = commands("worker", *(word for label in labels for word in ("--label", label)))

    assert refused.returncode == 2
    assert "label" in refused.stderr


def test_the_graph_tells_where_steps_run(commands: Commands) -> None:
    written = commands.plan("{plan: p, steps: [{id: a, run: 'true', runs_on: [linux, gpu]}]}")

    assert "a  command  on gpu, linux" in commands("check", written).stdout
