"""Runs whose histories grow long: continued in new ones, and nothing of them shows it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from branchwork.following import Follower
from branchwork.outcomes import RunReport
from repositories import files_of, make_repository
from scripted import Script, outcomes, plan_of, run, started, until
from servers import impatient_server
from workers import serving

RETRY = {"attempts": 4, "initial": "1s", "maximum": "1s"}


@pytest.fixture(scope="module")
async def impatient() -> AsyncIterator[Client]:
    async with impatient_server(events=40) as client:
        yield client


async def histories(client: Client, run: str) -> int:
    """How many the run has had so far."""
    found = [execution async for execution in client.list_workflows(f"WorkflowId = '{run}'")]
    return len(found)


async def until_histories(client: Client, run: str, count: int) -> None:
    async with asyncio.timeout(30):
        while await histories(client, run) < count:
            await asyncio.sleep(0.1)


async def timers(client: Client, run: str) -> list[timedelta]:
    """Of the run's last history."""
    return [
        event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
        async for event in client.get_workflow_handle(run).fetch_history_events()
        if event.event_type is EventType.EVENT_TYPE_TIMER_STARTED
    ]


def layers(count: int, wide: int = 3, **fields: Any) -> dict[str, Any]:
    """Each layer needs the whole layer before it."""
    steps: dict[str, Any] = {}
    before: list[str] = []
    for layer in range(count):
        names = [f"s{layer:02}-{number}" for number in range(wide)]
        steps.update({name: {"needs": before, **fields} for name in names})
        before = names
    return steps


def chain(count: int) -> dict[str, Any]:
    return layers(count, wide=1)


def told(report: RunReport) -> dict[str, Any]:
    """What a report says, without its times and its run's name."""
    steps = [
        step.model_dump(exclude={"started_at", "ended_at", "duration_seconds"})
        for step in report.steps
    ]
    return {**report.model_dump(include={"outcome", "reason", "base", "result"}), "steps": steps}


async def test_a_run_over_many_histories_ends_as_one_in_a_single_history(
    client: Client, impatient: Client
) -> None:
    steps = {
        **layers(20, retry=RETRY),
        "odd": {"needs": ["s03-1"], "optional": True},
        "stranded": {"needs": ["odd"], "optional": True},
    }
    acts = {
        **{f"s{layer:02}-1": ["fail", "time_out", "succeed"] for layer in (2, 7, 11)},
        "odd": ["fail_for_good"],
    }
    undisturbed, script = Script(acts), Script(acts)

    expected = await run(client, plan_of(steps), undisturbed)
    async with started(impatient, plan_of(steps), script) as (runs, run_id):
        report = await runs.wait(run_id)
        count = await histories(impatient, run_id)

    assert count > 3
    assert told(report) == told(expected)
    assert sorted(script.started) == sorted(undisturbed.started)
    assert script.needs == undisturbed.needs
    assert script.landed[0].leaves == undisturbed.landed[0].leaves


async def test_a_chain_goes_over_between_two_of_its_steps(impatient: Client) -> None:
    script = Script()

    async with started(impatient, plan_of(chain(30)), script) as (runs, run_id):
        report = await runs.wait(run_id)
        count = await histories(impatient, run_id)

    assert report.outcome == "succeeded"
    assert script.started == list(chain(30))
    assert count > 2


async def test_an_attempt_under_way_is_neither_lost_nor_does_it_stall_the_others(
    impatient: Client,
) -> None:
    script = Script({"slow": ["slow"]})

    async with started(impatient, plan_of({"slow": "", **layers(8)}), script) as (runs, run_id):
        await until(lambda: len(script.ended) == 24)
        count = await histories(impatient, run_id)
        script.release.set()
        report = await runs.wait(run_id)

    assert count == 1
    assert set(outcomes(report).values()) == {"succeeded"}
    assert script.started.count("slow") == 1


async def test_a_list_shows_one_line_for_a_run_with_its_first_start(impatient: Client) -> None:
    script = Script({"last": ["slow"]})
    plan = plan_of({**chain(12), "last": "s11-0"})

    async with started(impatient, plan, script) as (runs, run_id):
        await until(lambda: script.running == 1 and "last" in script.started)
        live = await runs.report(run_id)
        lines = [line for line in await runs.runs(50) if line.run == run_id]
        script.release.set()
        report = await runs.wait(run_id)
        ended = [line for line in await runs.runs(50) if line.run == run_id]
        # Temporal's lists follow the runs a moment later.
        while [line.outcome for line in ended] == [None]:
            await asyncio.sleep(0.05)
            ended = [line for line in await runs.runs(50) if line.run == run_id]
        count = await histories(impatient, run_id)

    assert count > 1
    assert [line.started_at for line in lines] == [live.started_at] == [report.started_at]
    assert [line.outcome for line in ended] == ["succeeded"]


async def test_whoever_follows_a_run_sees_its_end_in_a_later_history(impatient: Client) -> None:
    async with started(impatient, plan_of(chain(20)), Script()) as (runs, run_id):
        sights = [sight async for sight in Follower(runs, run_id).sights(0.02)]
        count = await histories(impatient, run_id)

    assert count > 1
    assert sights[-1].report.outcome == "succeeded"
    assert len({sight.report.started_at for sight in sights if sight.report.steps}) == 1


async def test_a_paused_run_stays_paused_in_a_new_history(impatient: Client) -> None:
    wide = [f"w{number:02}" for number in range(15)]
    script = Script({name: ["slow"] for name in wide})
    plan = plan_of({**dict.fromkeys(wide, ""), "last": " ".join(wide), "z": ""}, max_parallel=15)

    async with started(impatient, plan, script) as (runs, run_id):
        await until(lambda: script.running == 15)
        await runs.pause(run_id)
        script.release.set()
        await until_histories(impatient, run_id, 2)
        paused = await runs.report(run_id)
        still = list(script.started)
        await runs.resume(run_id)
        report = await runs.wait(run_id)

    assert paused.status == "paused"
    assert sorted(still) == wide
    assert report.outcome == "succeeded"


async def test_a_run_is_cancelled_in_whatever_history_it_is(impatient: Client) -> None:
    script = Script({"s15-0": ["hang"]})

    async with started(impatient, plan_of(chain(20)), script) as (runs, run_id):
        await until(lambda: "s15-0" in script.started and script.running == 1)
        count = await histories(impatient, run_id)
        await runs.cancel(run_id, "enough")
        report = await runs.wait(run_id)

    assert count > 1
    assert report.outcome == "cancelled"
    assert outcomes(report)["s14-0"] == "succeeded"
    assert outcomes(report)["s15-0"] == "cancelled"
    assert outcomes(report)["s16-0"] == "skipped"


async def test_a_deadline_counts_from_the_first_history(impatient: Client) -> None:
    script = Script({"s15-0": ["hang"]})
    plan = plan_of(chain(20), deadline="1h")

    async with started(impatient, plan, script) as (runs, run_id):
        await until(lambda: "s15-0" in script.started and script.running == 1)
        count = await histories(impatient, run_id)
        left = await timers(impatient, run_id)
        await runs.cancel(run_id)
        await runs.wait(run_id)

    assert count > 1
    assert timedelta(minutes=50) < left[0] < timedelta(hours=1)


async def test_a_deadline_ends_a_run_in_a_later_history(impatient: Client) -> None:
    script = Script({"s15-0": ["hang"]})

    async with started(impatient, plan_of(chain(20), deadline="15s"), script) as (runs, run_id):
        report = await runs.wait(run_id)
        count = await histories(impatient, run_id)

    assert count > 1
    assert report.outcome == "timed_out"


async def test_a_step_that_waits_for_its_next_attempt_goes_on_waiting(impatient: Client) -> None:
    script = Script({"a": ["fail"]})
    retry = {"attempts": 2, "initial": "1h", "maximum": "1h"}
    plan = plan_of({"a": {"retry": retry, "total": "2h"}, **chain(20)}, on_failure="continue")

    async with started(impatient, plan, script) as (runs, run_id):
        await until(lambda: script.ended[-1:] == ["s19-0"])
        await until_histories(impatient, run_id, 2)
        waiting = await runs.report(run_id)
        left = sorted(await timers(impatient, run_id))
        step = await runs.cancel_step(run_id, "a")
        report = await runs.wait(run_id)

    assert waiting.steps[0].status == "backing_off"
    assert waiting.steps[0].reason == "AgentFailed: exit 3"
    assert timedelta(minutes=40) < left[0] < timedelta(hours=1.1)
    assert timedelta(hours=1.8) < left[1] < timedelta(hours=2)
    assert (step.outcome, step.attempts) == ("cancelled", 1)
    assert outcomes(report)["s19-0"] == "succeeded"


async def test_attempts_are_counted_on_in_a_new_history(impatient: Client) -> None:
    script = Script({"a": ["fail", "fail", "succeed"]})
    retry = {"attempts": 3, "initial": "3s", "maximum": "3s"}

    async with started(impatient, plan_of({"a": {"retry": retry}, **chain(25)}), script) as (
        runs,
        run_id,
    ):
        report = await runs.wait(run_id)
        count = await histories(impatient, run_id)

    assert count > 2
    assert (report.steps[0].outcome, report.steps[0].attempts) == ("succeeded", 3)
    assert report.steps[0].result == "a-3"


async def test_no_update_is_lost_between_two_histories(impatient: Client) -> None:
    script = Script({"gate": ["slow"]})
    steps = {f"side-{number}": {"needs": ["gate"], "optional": True} for number in range(15)}
    plan = plan_of({**chain(20), "gate": "s19-0", **steps})

    async with started(impatient, plan, script) as (runs, run_id):
        ended = []
        for step in steps:
            ended.append(await runs.cancel_step(run_id, step))
            await runs.pause(run_id)
            await runs.resume(run_id)
        script.release.set()
        report = await runs.wait(run_id)
        count = await histories(impatient, run_id)

    assert count > 1
    assert [step.outcome for step in ended] == ["cancelled"] * 15
    assert {outcomes(report)[step] for step in steps} == {"cancelled"}
    assert report.outcome == "succeeded"


async def test_outputs_are_handed_on_into_a_new_history(impatient: Client, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    steps: list[dict[str, Any]] = [
        {"id": "first", "run": 'echo \'{"word": "kept"}\' > "$BRANCHWORK_OUTPUT"'},
        {"id": "s00", "run": "test $BRANCHWORK_ATTEMPT = 2", "needs": ["first"], "retry": RETRY},
    ]
    steps += [
        {"id": f"s{number:02}", "run": f"echo {number} >> log", "needs": [f"s{number - 1:02}"]}
        for number in range(1, 12)
    ]
    steps += [{"id": "last", "run": 'cp "$BRANCHWORK_NEEDS" outputs', "needs": ["first", "s11"]}]

    async with serving(impatient, tmp_path) as host:
        run_id = await host.start(repository, {"steps": steps})
        report = await host.runs.wait(run_id)
        count = await histories(impatient, run_id)
        left = await host.leftovers(repository, run_id)

    assert report.outcome == "succeeded", report.reason
    assert count > 1
    assert left == []
    files = files_of(repository, report.branch or "")
    assert files["log"].split() == [str(number) for number in range(1, 12)]
    assert "kept" in files["outputs"]


async def test_a_run_at_the_end_of_its_history_waits_for_the_attempts_under_way(
    client: Client,
) -> None:
    """30 MB are 30 attempts that are handed 1 MB each."""
    names = [f"s{number:02}" for number in range(40)]
    script = Script({"slow": ["slow"]})
    params = {"text": "x" * 1_000_000}
    plan = plan_of({"slow": "", **dict.fromkeys(names, "")}, params=params, max_parallel=3)

    async with started(client, plan, script) as (runs, run_id):
        await until(lambda: len(script.ended) >= 27, seconds=60)
        await asyncio.sleep(3)
        held = len(script.ended)
        count = await histories(client, run_id)
        script.release.set()
        report = await runs.wait(run_id)
        legs = await histories(client, run_id)

    assert 27 <= held < 35
    assert (count, legs) == (1, 2)
    assert set(outcomes(report).values()) == {"succeeded"}
    assert sorted(script.started) == sorted([*names, "slow"])
