"""Runs whose histories grow long: continued in new ones, with the same end."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from branchwork.client import Branchwork
from branchwork.outcomes import RunReport
from conftest import SCRIPTS
from scripted import Script, outcomes, plan_of, run, started, until

RETRY = {"attempts": 3, "initial": "1s", "maximum": "1s"}


@pytest.fixture(scope="module")
async def impatient() -> AsyncIterator[Client]:
    """A server that suggests to continue a history after 40 events, not 4,096."""
    settings = {
        "limit.historyCount.suggestContinueAsNew": "40",
        "history.transferProcessorMaxPollRPS": "1000",
    }
    async with await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(SCRIPTS / "temporal"),
        dev_server_extra_args=[
            part
            for name in settings
            for part in ("--dynamic-config-value", f"{name}={settings[name]}")
        ],
    ) as environment:
        yield environment.client


async def histories(client: Client, run: str) -> int:
    """How many the run has had so far."""
    found = [execution async for execution in client.list_workflows(f"WorkflowId = '{run}'")]
    return len(found)


def layers(count: int, wide: int) -> dict[str, Any]:
    """Each layer needs the whole layer before it."""
    steps: dict[str, Any] = {}
    before: list[str] = []
    for layer in range(count):
        names = [f"s{layer:02}-{number}" for number in range(wide)]
        steps.update({name: {"needs": before} for name in names})
        before = names
    return steps


async def test_a_run_of_many_layers_goes_on_over_several_histories(impatient: Client) -> None:
    script = Script()

    async with started(impatient, plan_of(layers(20, 3)), script) as (runs, run_id):
        report = await runs.wait(run_id)
        count = await histories(impatient, run_id)

    assert report.outcome == "succeeded"
    assert set(outcomes(report).values()) == {"succeeded"}
    assert sorted(script.started) == sorted(layers(20, 3))
    assert count > 3
