"""Servers of their own, for tests that need other settings than the session's has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from conftest import SCRIPTS


@asynccontextmanager
async def impatient_server(events: int) -> AsyncIterator[Client]:
    """One that suggests to continue a history after so many events, not 4,096."""
    settings = [f"limit.historyCount.suggestContinueAsNew={events}"]
    settings += ["history.transferProcessorMaxPollRPS=1000"]
    async with await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(SCRIPTS / "temporal"),
        dev_server_extra_args=[
            part for setting in settings for part in ("--dynamic-config-value", setting)
        ],
    ) as environment:
        yield environment.client
