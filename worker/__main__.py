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
from branchwork.labels import bad_labels, sorted_labels
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
    leave(asyncio.run(_serve(_options(), environment())))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("--slots", type=int, help="attempts run at once")
    parser.add_argument("--label", action="append", default=[], help="serve its steps too")
    return parser.parse_args()


def _settings(options: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """Options win over the environment."""
    if wrong := bad_labels(options.label):
        raise SettingsError(f"--label: {wrong}")
    settings = Settings.from_environment(environ)
    labels = sorted_labels(options.label) or settings.labels
    slots = options.slots or settings.slots
    return settings.model_copy(update={"slots": slots, "labels": labels})


async def _serve(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        settings = _settings(options, environ)
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
        slots=settings.slots,
        labels=settings.labels,
        build=settings.build,
        environ=environ,
        meters=meter_provider(environ),
    )
    labels = ", ".join(settings.labels) or "none"
    _log.info(
        "serving runs at %s with %d slots, labels: %s", settings.address, settings.slots, labels
    )
    if settings.build:
        _log.info("build %s of deployment %s", settings.build.id, settings.build.deployment)
    await worker.serve(stop)
    _log.info("stopped")
    return 0


if __name__ == "__main__":
    main()
