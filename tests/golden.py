"""Runs whose histories are replayed; `python tests/golden.py FOLDER` records them anew.

Record once for each released version of the workflow, into a folder of its own.
"""

import asyncio
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from temporalio.client import Client

import fleets
from branchwork.cli.leaving import leave
from branchwork.client import Branchwork
from branchwork.plan import Plan
from fleets import Fleet
from scripted import Script, plan_of, started, until
from servers import impatient_server

WIDE = {f"s{number:02}": "" for number in range(20)}
HANGING = {step: ["hang"] for step in WIDE}
CHAIN = {f"s{number:02}": f"s{number - 1:02}" if number else "" for number in range(20)}
RETRY = {"attempts": 3, "initial": "1s", "maximum": "1s"}

OFTEN = 40
"""Events after which the server suggests to continue a history."""
NEVER = 4096


class Golden(NamedTuple):
    plan: Plan
    acts: Mapping[str, list[str]]
    then: str = "wait"
    request: Mapping[str, Any] = {}
    suggests_after: int = NEVER


class Lost(NamedTuple):
    """A run of one step, whose workers do not stay."""

    turns: Sequence[str]
    heard: Sequence[bool] = ()
    suggests_after: int = NEVER


GOLDEN: Mapping[str, Golden | Lost] = {
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
    "total": Golden(
        plan_of({"a": {"total": "2s", "retry": RETRY}, "b": "a"}), {"a": ["fail", "hang"]}
    ),
    "pause": Golden(plan_of({"a": "", "b": "a"}), {"a": ["slow"]}, "pause"),
    "reuse": Golden(
        plan_of({"a": "", "b": "a", "c": ""}),
        {},
        request={"reuse": [{"step": "a", "commit": "c" * 40, "run": "test-before"}]},
    ),
    "labels": Golden(plan_of({"a": {"runs_on": ["nobody"]}, "b": "a"}, deadline="1s"), {}),
    "a worker that stops": Lost(["stop on a", "end"]),
    "a worker that falls silent": Lost(["silent on a", "end"]),
    "a host that is lost": Lost(["silent on b", "end"], [True, False]),
    "hosts that are lost": Lost([f"silent on {host}" for host in "bcde"], [False]),
    "histories": Golden(plan_of(CHAIN), {}, suggests_after=OFTEN),
    "histories with waits": Golden(
        plan_of(
            {"w": {"retry": RETRY, "total": "1m"}, **CHAIN}, deadline="1h", on_failure="continue"
        ),
        {"w": ["fail", "fail", "succeed"], "s09": ["fail"]},
        suggests_after=OFTEN,
    ),
}


async def histories_of(client: Client, golden: Golden | Lost) -> list[str]:
    """The histories of one of them, run now, as JSON."""
    if isinstance(golden, Lost):
        report = await fleets.run(client, Fleet(golden.turns, golden.heard), ["a"])
        return await _histories(client, report.run)
    script = Script(golden.acts)
    async with started(client, golden.plan, script, **golden.request) as (runs, run):
        await _steer(runs, run, script, golden)
        await runs.wait(run)
        return await _histories(client, run)


async def _steer(runs: Branchwork, run: str, script: Script, golden: Golden) -> None:
    match golden.then:
        case "cancel":
            await until(lambda: script.running == golden.plan.max_parallel)
            await runs.cancel(run)
        case "cancel a step":
            await until(lambda: script.ended == ["b"])
            await runs.cancel_step(run, "a")
        case "pause":
            await until(lambda: script.running == 1)
            await runs.pause(run)
            script.release.set()
            await until(lambda: script.ended == ["a"])
            await runs.resume(run)


async def _histories(client: Client, run: str) -> list[str]:
    """From the last to the first."""
    found: list[str] = []
    leg: str | None = None
    while leg != "":
        history = await client.get_workflow_handle(run, run_id=leg).fetch_history()
        found.append(history.to_json())
        began = history.events[0].workflow_execution_started_event_attributes
        leg = began.continued_execution_run_id
    return found


async def record(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for events in (NEVER, OFTEN):
        async with impatient_server(events) as client:
            for name, golden in GOLDEN.items():
                if golden.suggests_after == events:
                    _write(folder, name, await histories_of(client, golden))
    return 0


def _write(folder: Path, name: str, histories: Sequence[str]) -> None:
    for number, history in enumerate(reversed(histories), start=1):
        leg = f"-{number}" if len(histories) > 1 else ""
        (folder / f"{name.replace(' ', '-')}{leg}.json").write_text(_without_us(history))


def _without_us(history: str) -> str:
    """Who recorded it, and where, is of no interest."""
    named = re.sub(rf"\d+@{re.escape(socket.gethostname())}", "1@recorder", history)
    return re.sub(r'"stackTrace": "(\\.|[^"\\])*"', '"stackTrace": ""', named)


if __name__ == "__main__":
    leave(asyncio.run(record(Path(sys.argv[1]))))
