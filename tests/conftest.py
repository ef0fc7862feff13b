"""A real Temporal server for the session; everything else is made by each test."""

import gc
import sysconfig
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

# The same examples every time, on however slow a machine; `search` looks for others.
settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("steady")

SCRIPTS = Path(sysconfig.get_path("scripts"))


@pytest.fixture(scope="session")
async def client() -> AsyncIterator[Client]:
    async with await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(SCRIPTS / "temporal"),
        dev_server_extra_args=[
            "--dynamic-config-value",
            "history.transferProcessorMaxPollRPS=1000",
        ],
    ) as environment:
        yield environment.client


@pytest.fixture(scope="session")
async def skipping_client() -> AsyncIterator[Client]:
    """A server whose clock jumps to the next timer while nothing else happens."""
    async with await WorkflowEnvironment.start_time_skipping(
        data_converter=pydantic_data_converter,
        test_server_existing_path=str(SCRIPTS / "temporal-test-server"),
    ) as environment:
        yield environment.client


def pytest_unconfigure() -> None:
    # The SDK aborts processes at interpreter shutdown (sdk-python issue 300).
    gc.collect()
    time.sleep(0.1)
