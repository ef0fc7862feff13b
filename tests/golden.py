"""Runs whose histories are replayed; `python tests/golden.py FOLDER` records them anew.

Record once for each released version of the workflow, into a folder of its own.
"""

import asyncio
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from branchwork.cli.leaving import leave
from branchwork.plan import Plan
from scripted import Script, plan_of, started, until

WIDE = {f"s{number:02}": "" for number in range(20)}
HANGING = {step: ["hang"] for step in WIDE}


class Golden(NamedTuple):
    plan: Plan
    acts: Mapping[str, list[str]]
    then: str = "wait"


RETRY = {"attempts": 3, "initial": "1s", "maximum": "1s"}
GOLDEN: Mapping[str, Golden] = {
    "diamond": Golden(plan_of({"a": "", "b": "a", "c": "a", "d": "b c"}), {}),
    "a failure that cancels nineteen": Golden(
        plan_of({**WIDE, "after": " ".join(WIDE)}, max_parallel=20),
        {**HANGING, "s07": ["fail"]},
    ),
    "retries": Golden(
        plan_of({"a": {"retry": RETRY}, "b": {"retry": RETRY}, "c": "a b"}, max_parallel=1),
        {"a": ["fail", "succeed"], "b": ["time_out", "fail", "succeed"]},
    ),
    "continue": Golden(
        plan_of({"a": "", "b": "a", "c": "", "d": "c"}, on_failure="continue"), {"a": ["fail"]}
    ),
    "cancel": Golden(plan_of({**WIDE, "z": "s00"}), HANGING, "cancel"),
    "cancel of a step": Golden(
        plan_of({"a": "", "b": "", "c": "a"}), {"a": ["hang"]}, "cancel a step"
    ),
    "deadline": Golden(plan_of({"a": "", "b": "a"}, deadline="1s"), {"a": ["hang"]}),
}


async def history_of(client: Client, golden: Golden) -> str:
    """The history of one of them, run now, as JSON."""
    script = Script(golden.acts)
    async with started(client, golden.plan, script) as (runs, run):
        if golden.then == "cancel":
            await until(lambda: script.running == golden.plan.max_parallel)
            await runs.cancel(run)
        elif golden.then == "cancel a step":
            await until(lambda: script.ended == ["b"])
            await runs.cancel_step(run, "a")
        await runs.wait(run)
        return (await client.get_workflow_handle(run).fetch_history()).to_json()


async def record(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    binary = str(Path(sysconfig.get_path("scripts"), "temporal"))
    async with await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter, dev_server_existing_path=binary
    ) as environment:
        for name, golden in GOLDEN.items():
            history = await history_of(environment.client, golden)
            (folder / f"{name.replace(' ', '-')}.json").write_text(history)
    return 0


if __name__ == "__main__":
    leave(asyncio.run(record(Path(sys.argv[1]))))
