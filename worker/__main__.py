"""`python -m worker`: serve runs and steps until told to stop."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Mapping

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import Runtime, TelemetryConfig

from activities.hosts import HEARD_EVERY
from branchwork.cli.leaving import leave
from branchwork.names import StateFolder
from branchwork.settings import Settings, SettingsError
from worker.build import BranchworkWorker
from worker.environment import environment
from worker.telemetry import meter_provider

_log = logging.getLogger("branchwork.worker")


def main() -> None:
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    leave(asyncio.run(_serve(_slots(), environment())))


def _slots() -> int | None:
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("--slots", type=int, help="attempts run at once")
    slots: int | None = parser.parse_args().slots
    return slots


async def _serve(slots: int | None, environ: Mapping[str, str]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        settings = Settings.from_environment(environ)
        client = await Client.connect(
            data_converter=pydantic_data_converter,
            # So that its server hears soon when this worker is gone.
            runtime=Runtime(telemetry=TelemetryConfig(), worker_heartbeat_interval=HEARD_EVERY),
            **settings.connect,
        )
    except (SettingsError, RuntimeError) as error:
        _log.error("cannot start: %s", error)  # a sentence, not a traceback
        return 2
    worker = BranchworkWorker(
        client,
        state=StateFolder(settings.state),
        host=settings.host,
        slots=slots or settings.slots,
        environ=environ,
        meters=meter_provider(environ),
    )
    _log.info("serving runs at %s with %d slots", settings.address, slots or settings.slots)
    await worker.serve(stop)
    _log.info("stopped")
    return 0


if __name__ == "__main__":
    main()
