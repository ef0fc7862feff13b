"""What is read out of the histories of runs that cannot tell it themselves any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from branchwork.client import Branchwork
from branchwork.contract import Reused, RunRequest
from branchwork.errors import RefusedError, UnderWayError
from branchwork.histories import past_of, request_of, told_by
from branchwork.names import RUN_QUEUE, new_run_id
from branchwork.outcomes import RunReport
from branchwork.plan import Plan
from branchwork.reuse import retried
from conftest import SCRIPTS
from scripted import Script, outcomes, plan_of, playing, started, until

CHAIN = {"a": "", "b": "a", "c": "b", "d": "", "e": "c"}


@asynccontextmanager
async def terminated(
    client: Client, plan: Plan, script: Script, last: str, **request: Any
) -> AsyncIterator[tuple[Branchwork, str]]:
    """A run that Temporal ended while its step `last` hung; its worker still serves others."""
    async with playing(client, script):
        runs = Branchwork(client)
        asked = RunRequest(plan=plan, repository="/nowhere", **request)
        run = await runs.start(asked, new_run_id("test"))
        await until(lambda: last in script.started)
        while (await runs.report(run)).steps[-2].outcome is None:
            await asyncio.sleep(0.05)
        await client.get_workflow_handle(run).terminate()
        yield runs, run


async def test_the_report_of_a_terminated_run_tells_how_each_step_stood(client: Client) -> None:
    script = Script({"c": ["hang"]})

    async with terminated(client, plan_of(CHAIN), script, "c") as (runs, run):
        report = await runs.report(run)

    assert (report.outcome, report.base, report.plan) == ("cancelled", "b" * 40, "test")
    assert outcomes(report) == {
        "a": "succeeded",
        "b": "succeeded",
        "c": "cancelled",
        "d": "succeeded",
        "e": "skipped",
    }
    assert [step.attempts for step in report.steps] == [1, 1, 1, 1, 0]
    assert [step.result for step in report.steps] == ["a-1", "b-1", None, "d-1", None]
    assert "Temporal says terminated" in str(report.steps[2].reason)


async def test_a_retry_of_a_terminated_run_does_only_what_had_not_ended(client: Client) -> None:
    script = Script({"c": ["hang"]}, output={"n": 1})
    async with terminated(client, plan_of(CHAIN), script, "c") as (runs, run):
        script.acts = {}
        script.started.clear()

        report = await runs.wait(await runs.start(retried(await runs.past(run)).request))

    assert script.started == ["c", "e"]
    assert report.outcome == "succeeded"
    assert report.steps[0].output == {"n": 1}
    assert [step.reused for step in report.steps] == [run, run, None, run, None]


async def test_results_that_a_terminated_run_had_taken_over_are_taken_over_again(
    client: Client,
) -> None:
    script = Script({"c": ["hang"]})
    reuse = (Reused(step="a", commit="a-of-old", run="old"),)

    async with terminated(client, plan_of(CHAIN), script, "c", reuse=reuse) as (runs, run):
        again = retried(await runs.past(run))

    assert [(found.step, found.commit, found.run) for found in again.request.reuse] == [
        ("a", "a-of-old", "old"),
        ("b", "b-1", run),
        ("d", "d-1", run),
    ]


async def test_outputs_that_a_report_left_out_are_read_out_of_the_history(client: Client) -> None:
    names = [f"s{number:02}" for number in range(30)]
    script = Script({"last": ["fail"]}, output={"text": "x" * 60_000})
    plan = plan_of({**dict.fromkeys(names, ""), "last": names[0]}, on_failure="continue")

    async with started(client, plan, script) as (runs, run):
        report = await runs.wait(run)
        past = await runs.past(run)

    assert any(step.output is None for step in report.steps[:30])
    assert all(step.output == script.output for step in past.report.steps[:30])
    assert all(step.reason is None for step in past.report.steps[:30])
    assert past.report.steps[30].outcome == "failed"


async def test_a_report_that_tells_of_no_step_is_completed(client: Client) -> None:
    script = Script({"b": ["fail"]})

    async with started(client, plan_of({"a": "", "b": "a"}), script) as (runs, run):
        report = await runs.wait(run)
        past = await past_of(client, report.model_copy(update={"steps": ()}))

    assert outcomes(past.report) == {"a": "succeeded", "b": "failed"}


async def test_a_cancelled_run_of_many_steps_tells_of_each_of_them(client: Client) -> None:
    names = [f"s{number:03}" for number in range(900)]
    script = Script({"slow": ["hang"]})
    plan = plan_of({"quick": "", "slow": "quick", **dict.fromkeys(names, "slow")})

    async with started(client, plan, script) as (runs, run):
        await until(lambda: "slow" in script.started)
        await runs.cancel(run)
        report = await runs.wait(run)
        again = retried(await runs.past(run))

    assert (report.outcome, len(report.steps)) == ("cancelled", 902)
    assert [step.outcome for step in report.steps[:3]] == ["succeeded", "cancelled", "skipped"]
    assert str(report.reason).startswith("Cancelled")
    assert [reused.step for reused in again.request.reuse] == ["quick"]


async def test_every_attempt_of_a_step_is_told_with_its_own_end(client: Client) -> None:
    retry = {"attempts": 2, "initial": "1s"}
    script = Script({"a.run.1": ["fail", "succeed"]})

    async with started(client, plan_of({"a.run.1": {"retry": retry}}), script) as (runs, run):
        await runs.wait(run)
        told = await told_by(client, run)

    assert told.attempts == {"a.run.1": 2}
    assert {key: end.outcome for key, end in told.ends.items()} == {
        ("a.run.1", 1): "failed",
        ("a.run.1", 2): "succeeded",
    }


async def test_a_run_under_way_has_no_past_yet(client: Client) -> None:
    script = Script({"a": ["slow"]})

    async with started(client, plan_of({"a": ""}), script) as (runs, run):
        with pytest.raises(UnderWayError, match="`branchwork cancel "):
            await runs.past(run)
        script.release.set()
        await runs.wait(run)


async def test_a_request_that_nobody_can_read_is_refused(client: Client) -> None:
    run = new_run_id("test")
    async with playing(client, Script()):
        await client.start_workflow(
            "RunPlan", {"plan": 3}, id=run, task_queue=RUN_QUEUE, result_type=RunReport
        )
        report = await Branchwork(client).wait(run)

    with pytest.raises(RefusedError, match=f"what run {run} was asked cannot be read"):
        await request_of(client, run)
    assert report.outcome == "failed"


@pytest.fixture(scope="module")
async def forgetful() -> AsyncIterator[Client]:
    """A server that suggests to continue histories after 40 events, and deletes without delay."""
    settings = (
        "limit.historyCount.suggestContinueAsNew=40",
        "history.transferProcessorMaxPollRPS=1000",
        "history.visibilityProcessorEnsureCloseBeforeDelete=false",
        "history.transferProcessorEnsureCloseBeforeDelete=false",
    )
    async with await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(SCRIPTS / "temporal"),
        dev_server_extra_args=[
            part for setting in settings for part in ("--dynamic-config-value", setting)
        ],
    ) as environment:
        yield environment.client


@pytest.mark.parametrize("forgotten", [False, True])
async def test_what_earlier_histories_of_a_run_tell_is_known_also_when_they_are_gone(
    forgetful: Client, *, forgotten: bool
) -> None:
    names = [f"s{number:02}" for number in range(20)]
    chain = {name: before for before, name in zip(["", *names], names, strict=False)}
    script = Script({"end": ["hang"]}, output={"n": 1})
    plan = plan_of({**chain, "end": names[-1]})

    async with terminated(forgetful, plan, script, "end") as (runs, run):
        legs = await histories(forgetful, run)
        if forgotten:
            await forget(forgetful, run, legs[1:])
        again = retried(await runs.past(run))
        told = await told_by(forgetful, run)

    assert len(legs) > 2
    assert [reused.step for reused in again.request.reuse] == names
    assert all(reused.output == {"n": 1} for reused in again.request.reuse)
    assert [rerun.step for rerun in again.reruns] == ["end"]
    assert again.request.base == "b" * 40
    assert (("s00", 1) in told.ends) is not forgotten


async def histories(client: Client, run: str) -> list[str]:
    """Their ids, the newest first."""
    found: list[str] = []
    leg: str | None = None
    while leg != "":
        events = client.get_workflow_handle(run, run_id=leg).fetch_history_events(page_size=1)
        started = (await anext(events)).workflow_execution_started_event_attributes
        found.append(started.original_execution_run_id)
        leg = started.continued_execution_run_id
    return found


async def forget(client: Client, run: str, legs: list[str]) -> None:
    """As Temporal does after its retention."""
    for leg in legs:
        execution = WorkflowExecution(workflow_id=run, run_id=leg)
        await client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(namespace=client.namespace, workflow_execution=execution)
        )
    while True:
        try:
            await anext(client.get_workflow_handle(run, run_id=legs[-1]).fetch_history_events())
        except RPCError:
            return
        await asyncio.sleep(0.1)
