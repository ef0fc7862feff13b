"""What a large run costs: time a step, its history, the worker's memory.

    python benchmarks/big_run.py [--steps 200 2000] [--layered] [--folder /dev/shm]

No-op steps, 8 at once, one run after the other with one worker. With `--layered`
eight steps each need the eight before them: then no attempt is under way between
two layers, and a long history is continued in a new one there.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from overhead import PARALLEL, make_repository, server
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from branchwork.cli.leaving import leave
from branchwork.client import Branchwork
from branchwork.contract import RunRequest
from branchwork.plan import Plan


class Leg(NamedTuple):
    """One history of a run."""

    events: int
    size: int


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        repository = make_repository(Path(folder, "repository"))
        state = Path(folder, "state")
        with server(state) as address:
            asyncio.run(measure(address, repository, state, options))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--layered", action="store_true")
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)  # noqa: S108
    return parser.parse_args()


async def measure(address: str, repository: Path, state: Path, options: argparse.Namespace) -> None:
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    runs = Branchwork(client)
    await run_of(runs, repository, plan_of(PARALLEL, layered=False))
    print("steps      time     a step  to first  histories  events (longest)  size  memory")
    first = 0.0
    for count in options.steps:
        began = time.perf_counter()
        run = await run_of(runs, repository, plan_of(count, layered=options.layered))
        seconds = time.perf_counter() - began
        first = first or seconds / count
        found = await legs(client, run)
        print(
            f"{count:5} {seconds:7.1f} s {1000 * seconds / count:7.1f} ms"
            f" {seconds / count / first:9.2f} {len(found):10}"
            f" {sum(leg.events for leg in found):8} ({max(leg.events for leg in found)})"
            f" {sum(leg.size for leg in found) / 1e6:8.1f} MB {memory_of(state) / 1e6:4.0f} MB",
            flush=True,
        )


async def run_of(runs: Branchwork, repository: Path, plan: Plan) -> str:
    run = await runs.start(RunRequest(plan=plan, repository=str(repository)))
    report = await runs.wait(run)
    if report.outcome != "succeeded":
        raise SystemExit(f"{run}: {report.reason}")
    return run


def plan_of(count: int, *, layered: bool) -> Plan:
    steps: list[dict[str, Any]] = [{"id": f"s{number}", "run": "true"} for number in range(count)]
    if layered:
        for number in range(PARALLEL, count):
            before = number // PARALLEL * PARALLEL
            steps[number]["needs"] = [f"s{need}" for need in range(before - PARALLEL, before)]
    return Plan.model_validate({"plan": "big", "max_parallel": PARALLEL, "steps": steps})


async def legs(client: Client, run: str) -> list[Leg]:
    """The run's histories."""
    found = []
    # Lists lag behind by a moment; a handle does not.
    description = await client.get_workflow_handle(run).describe()
    before: str | None = description.run_id
    while before:
        handle = client.get_workflow_handle(run, run_id=before)
        about = (await handle.describe()).raw_description.workflow_execution_info
        found.append(Leg(about.history_length, about.history_size_bytes))
        first = await anext(handle.fetch_history_events(page_size=1))
        before = first.workflow_execution_started_event_attributes.continued_execution_run_id
    return found


def memory_of(state: Path) -> int:
    """Resident bytes of the worker that keeps its state there."""
    for process in psutil.process_iter():
        try:
            its_state = process.environ().get("XDG_STATE_HOME")
            if "worker" in process.cmdline() and its_state == str(state):
                return int(process.memory_info().rss)
        except psutil.Error:
            continue
    return 0


if __name__ == "__main__":
    leave(main())
