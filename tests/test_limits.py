"""Nothing that is too large for Temporal keeps a run from its end."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_core import to_json
from temporalio.client import Client, WorkflowUpdateFailedError

from branchwork.carrying import Carried, bounded_carried
from branchwork.client import Branchwork
from branchwork.contract import AttemptEnd, RunRequest
from branchwork.errors import RefusedError
from branchwork.limits import MOST_REQUEST_BYTES, bounded_end, shortened, size_of
from branchwork.names import RUN_QUEUE, new_run_id
from branchwork.outcomes import Outcome, RunReport, StepReport
from scripted import Script, outcomes, plan_of, playing, reason, run, started, until

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def wide(count: int, **fields: Any) -> dict[str, Any]:
    return {f"s{number:03}": fields for number in range(count)}


async def test_steps_that_start_at_once_may_together_be_larger_than_one_message(
    client: Client,
) -> None:
    params = {"text": "x" * 200_000}
    plan = plan_of(wide(60), params=params, max_parallel=60)

    report = await run(client, plan, Script())

    assert set(outcomes(report).values()) == {"succeeded"}


async def test_steps_that_end_at_once_may_together_be_larger_than_one_message(
    client: Client,
) -> None:
    script = Script({name: ["slow"] for name in wide(100)}, output={"text": "x" * 60_000})
    plan = plan_of(wide(100), max_parallel=100)

    async with started(client, plan, script) as (runs, run_id):
        await until(lambda: script.running == 100)
        script.release.set()
        report = await runs.wait(run_id)

    assert set(outcomes(report).values()) == {"succeeded"}


async def test_an_agent_with_a_long_name_can_be_told_of(client: Client) -> None:
    plan = plan_of({"a": {"run": None, "agent": "ä" * 100}}, agents={"*": "true"})

    report = await run(client, plan, Script())

    assert report.outcome == "succeeded"


async def test_a_base_with_a_long_name_can_be_told_of(client: Client) -> None:
    plan = plan_of({"a": ""}, base="ä" * 1000)

    report = await run(client, plan, Script())

    assert report.outcome == "succeeded"


async def test_a_request_that_another_client_sent_is_refused_above_the_limit_of_ours(
    client: Client,
) -> None:
    plan = plan_of({"a": {"prompt": "x" * 1_600_000}})
    request = RunRequest(plan=plan, repository="/nowhere")

    async with playing(client, Script()):
        report = await client.execute_workflow(
            "RunPlan",
            request,
            id=new_run_id("large"),
            task_queue=RUN_QUEUE,
            result_type=RunReport,
        )
        with pytest.raises(RefusedError, match="and Temporal carries 1,500,000"):
            await Branchwork(client).start(request)

    assert report.reason is not None
    assert report.reason.startswith("PlanRefused: the plan takes 1,6")
    assert "Temporal carries 1,500,000" in report.reason
    assert outcomes(report) == {"a": "skipped"}


async def test_a_request_is_weighed_in_bytes(client: Client) -> None:
    plan = plan_of({"a": {"prompt": "😀" * 400_000}})

    with pytest.raises(RefusedError, match="the plan takes 1,600,"):
        await Branchwork(client).start(RunRequest(plan=plan, repository="/nowhere"))


async def test_paths_that_grow_beside_their_steps_are_refused_with_the_limit(
    client: Client,
) -> None:
    paths = [f"{number:x}" for number in range(26_000)]
    plan = plan_of({"s" * 64: {"requires": paths}})

    report = await run(client, plan, Script())

    assert (report.reason or "").startswith("PlanRefused: the paths that the plan requires")
    assert "1,900,000 can be looked for" in (report.reason or "")


async def test_a_step_whose_parameters_and_outputs_are_too_much_together_fails_by_name(
    client: Client,
) -> None:
    script = Script(output={"text": "x" * 60_000})
    params = {"text": "x" * 1_200_000}
    plan = plan_of({**wide(14), "join": " ".join(wide(14))}, params=params)

    report = await run(client, plan, script)

    assert outcomes(report)["join"] == "failed"
    assert reason(report, "join").startswith("RequestTooLarge: the step, the run's parameters and")
    assert "1,900,000 can be handed" in reason(report, "join")


@pytest.mark.parametrize("act", ["break_at_length", "fail_at_length"])
async def test_a_reason_of_megabytes_is_cut(client: Client, act: str) -> None:
    report = await run(client, plan_of({"a": "", "b": ""}), Script({"a": [act]}))

    assert outcomes(report) == {"a": "failed", "b": "succeeded"}
    assert 0 < len(reason(report, "a")) <= 4_100


async def test_a_base_or_landing_that_fails_at_length_ends_the_run(client: Client) -> None:
    base = await run(client, plan_of({"a": ""}), Script(base_fails="Lengthy", text="x" * 3_000_000))
    landing = await run(
        client, plan_of({"a": ""}), Script(landing_fails="Lengthy", text="x" * 3_000_000)
    )

    assert (base.outcome, landing.outcome) == ("failed", "failed")
    assert len(base.reason or "") + len(landing.reason or "") < 10_000


async def test_a_cancel_with_a_reason_of_a_megabyte_reaches_all(client: Client) -> None:
    script = Script({name: ["hang"] for name in wide(20)})

    async with started(client, plan_of(wide(20), max_parallel=20), script) as (runs, run_id):
        await until(lambda: script.running == 20)
        await runs.cancel(run_id, "x" * 1_000_000)
        report = await runs.wait(run_id)

    assert report.outcome == "cancelled"
    assert set(outcomes(report).values()) == {"cancelled"}
    assert len(report.steps[0].reason or "") <= 4_100


async def test_an_update_of_megabytes_is_refused_and_the_run_goes_on(client: Client) -> None:
    script = Script({"a": ["slow"]})

    async with started(client, plan_of({"a": ""}), script) as (runs, run_id):
        handle = client.get_workflow_handle(run_id)
        await until(lambda: script.running == 1)
        long, no_text = {"step": "\0" * 300_000}, {"step": "a", "reason": ["x"]}
        for wrong in (long, no_text, {}, "x" * 1_000_000):
            with pytest.raises(WorkflowUpdateFailedError):
                await handle.execute_update("cancel_step", wrong)
        await handle.signal("cancel", {"reason": {"no": "text"}})
        script.release.set()
        report = await runs.wait(run_id)

    assert report.outcome == "succeeded"


async def test_a_description_of_any_length_can_be_started(client: Client) -> None:
    plan = plan_of({"a": ""}, description="\x01😀" * 50_000)

    report = await run(client, plan, Script())

    assert report.outcome == "succeeded"


def test_what_is_cut_takes_no_more_than_the_limit_in_json() -> None:
    for text in ("x" * 5_000, "ü" * 5_000, "\x01" * 5_000, '"' * 5_000, "😀" * 5_000):
        cut = shortened(text, 1_000)

        assert len(to_json(cut)) <= 1_000
        assert cut.startswith(text[:100])
        assert shortened(cut, 1_000) == cut
    assert shortened("as it was") == "as it was"


def test_an_end_with_long_paths_is_cut_and_says_how_many_are_left_out() -> None:
    paths = tuple(f"{'d' * 4000}/{number}" for number in range(200))
    end = AttemptEnd(
        outcome=Outcome.FAILED, reason="x" * 9_000, changed=paths, started_at=NOW, ended_at=NOW
    )

    sent = bounded_end(end)

    assert size_of(sent) < 40_000
    assert sent.changed[-1] == f"… and {200 - len(sent.changed) + 1} more"
    assert bounded_end(sent) == sent


def test_the_largest_request_and_what_a_long_run_takes_along_are_one_message() -> None:
    steps = tuple(
        StepReport(
            step=f"{number:064}",
            agent="a" * 100,
            outcome=Outcome.FAILED,
            attempts=100,
            base="b" * 64,
            result="r" * 64,
            kept=f"refs/branchwork/{'r' * 80}/attempts/{number:064}/100",
            started_at=NOW,
            ended_at=NOW,
            reason="ü" * 4_000,
            output={"text": "x" * 60_000},
            changed=("p" * 4_000,),
        )
        for number in range(2_000)
    )
    carried = Carried(base="b" * 64, started_at=NOW, steps=steps)

    sent = bounded_carried(carried, frozenset([steps[0].step]), 1_900_000)

    assert size_of(sent) <= 1_900_000
    assert len(sent.steps) == 2_000
    assert sent.steps[0].output
    assert MOST_REQUEST_BYTES + 1_900_000 < 4_000_000


def test_outputs_that_others_wait_for_are_the_last_to_be_left_behind() -> None:
    steps = tuple(
        StepReport(step=name, agent="a", outcome=Outcome.SUCCEEDED, output={"text": "x" * 5_000})
        for name in "abc"
    )
    carried = Carried(base="b", started_at=NOW, steps=steps)

    sent = bounded_carried(carried, frozenset("b"), 8_000)

    assert [bool(step.output) for step in sent.steps] == [False, True, False]
    assert sent.lost == ()
