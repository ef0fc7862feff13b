"""Where a worker's metrics go, by the standard `OTEL_METRICS_EXPORTER`."""

import sys
from collections.abc import Mapping

from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader


def meter_provider(environ: Mapping[str, str]) -> MeterProvider:
    """`console` prints to stderr every minute; anything else measures nothing, at no cost."""
    if environ.get("OTEL_METRICS_EXPORTER") != "console":
        return NoOpMeterProvider()
    exporter = ConsoleMetricExporter(out=sys.stderr)
    return SdkMeterProvider([PeriodicExportingMetricReader(exporter)])
