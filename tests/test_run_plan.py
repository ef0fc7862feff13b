"""The graph: what starts when, and what an end means for the others."""

import asyncio

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError

from branchwork.client import Branchwork
from branchwork.contract import Reused, RunRequest
from branchwork.errors import RefusedError
from branchwork.names import RUN_QUEUE, new_run_id
from branchwork.outcomes import RunReport
from scripted import Script, outcomes, plan_of, playing, reason, run, started, until

DIAMOND = {"top": "", "left": "top", "right": "top", "bottom": "left right"}


async def test_every_step_of_a_diamond_runs_after_what_it_needs(client: Client) -> None:
    script = Script()

    report = await run(client, plan_of(DIAMOND), script)

    assert report.outcome == "succeeded"
    assert script.started[0] == "top"
    assert script.started[-1] == "bottom"
    assert [leaf.step for leaf in script.landed[0].leaves] == ["bottom"]


async def test_steps_taken_over_do_not_run_and_their_results_are_built_on(client: Client) -> None:
    script = Script()
    reuse = (
        Reused(step="top", commit="top-of-old", run="old"),
        Reused(step="left", commit="left-of-old", run="older"),
    )
    request = RunRequest(plan=plan_of(DIAMOND), repository="/nowhere", reuse=reuse)

    async with playing(client, script):
        runs = Branchwork(client)
        report = await runs.wait(await runs.start(request))

    assert script.started == ["right", "bottom"]
    assert script.needs["bottom"] == {"left": "left-of-old", "right": "right-1"}
    assert outcomes(report) == dict.fromkeys(DIAMOND, "succeeded")
    assert [step.reused for step in report.steps] == ["old", "older", None, None]
    assert [(need.step, need.commit) for need in script.based[0].reuse] == [
        ("top", "top-of-old"),
        ("left", "left-of-old"),
    ]


async def test_a_run_that_takes_over_every_step_only_lands(client: Client) -> None:
    script = Script()
    reuse = (Reused(step="a", commit="a-of-old", run="old"),)
    request = RunRequest(plan=plan_of({"a": ""}), repository="/nowhere", reuse=reuse)

    async with playing(client, script):
        runs = Branchwork(client)
        report = await runs.wait(await runs.start(request))

    assert script.started == []
    assert [leaf.commit for leaf in script.landed[0].leaves] == ["a-of-old"]
    assert report.outcome == "succeeded"


async def test_results_that_do_not_fit_the_plan_refuse_the_run(client: Client) -> None:
    reuse = (Reused(step="b", commit="b-of-old", run="old"),)
    plan = plan_of({"a": "", "b": "a"})
    script = Script()

    async with playing(client, script):
        runs = Branchwork(client)
        request = RunRequest(plan=plan, repository="/nowhere", reuse=reuse)
        report = await runs.wait(await runs.start(request))

    assert report.outcome == "failed"
    assert "that of 'a', which it needs, is not" in str(report.reason)
    assert script.started == []


async def test_reports_come_in_plan_order_whatever_ends_first(client: Client) -> None:
    script = Script({"a": ["slow"]})

    async with started(client, plan_of({"a": "", "b": "", "c": ""}), script) as (runs, run_id):
        await until(lambda: set(script.ended) == {"b", "c"})
        script.release.set()
        report = await runs.wait(run_id)

    assert [step.step for step in report.steps] == ["a", "b", "c"]
    assert script.ended[-1] == "a"


async def test_a_step_starts_what_it_freed_without_waiting_for_its_siblings(client: Client) -> None:
    script = Script({"slow": ["slow"]})
    plan = plan_of({"slow": "", "fast": "", "after-fast": "fast", "after-slow": "slow"})

    async with started(client, plan, script) as (runs, run_id):
        await until(lambda: "after-fast" in script.ended)
        early = list(script.ended)
        script.release.set()
        report = await runs.wait(run_id)

    assert early == ["fast", "after-fast"]
    assert report.outcome == "succeeded"


async def test_no_more_than_max_parallel_run_at_once_and_others_fill_the_places(
    client: Client,
) -> None:
    names = [f"s{number}" for number in range(9)]
    script = Script({name: ["slow"] for name in names})
    plan = plan_of(dict.fromkeys(names, ""), max_parallel=3)

    async with started(client, plan, script) as (runs, run_id):
        await until(lambda: script.running == 3)
        script.release.set()
        report = await runs.wait(run_id)

    assert script.most_at_once == 3
    assert set(outcomes(report).values()) == {"succeeded"}


async def test_independent_steps_overlap(client: Client) -> None:
    script = Script({name: ["slow"] for name in "abcd"})

    async with started(client, plan_of(dict.fromkeys("abcd", "")), script) as (runs, run_id):
        await until(lambda: script.running == 4)
        script.release.set()
        report = await runs.wait(run_id)

    assert report.outcome == "succeeded"


async def test_a_failure_cancels_running_siblings_at_once_and_skips_the_rest(
    client: Client,
) -> None:
    script = Script({"bad": ["fail"], "busy": ["hang"]})
    plan = plan_of({"busy": "", "bad": "", "after": "bad", "last": "after busy"})

    report = await run(client, plan, script)

    assert report.outcome == "failed"
    assert report.reason == "step 'bad' failed: AgentFailed: exit 3"
    assert outcomes(report) == {
        "busy": "cancelled",
        "bad": "failed",
        "after": "skipped",
        "last": "skipped",
    }
    assert "step 'bad' failed" in reason(report, "busy")
    assert script.landed == []


async def test_a_cancelled_sibling_tells_what_was_kept_of_it(client: Client) -> None:
    script = Script({"bad": ["fail"], "busy": ["hang"]})

    report = await run(client, plan_of({"busy": "", "bad": ""}), script)

    assert report.steps[0].result == "busy-1"


async def test_with_continue_all_that_does_not_need_the_failed_step_runs_and_lands(
    client: Client,
) -> None:
    script = Script({"bad": ["fail"]})
    plan = plan_of(
        {"bad": "", "stranded": "bad", "deeper": "stranded", "free": "", "after": "free"},
        on_failure="continue",
    )

    report = await run(client, plan, script)

    assert report.outcome == "failed"
    assert outcomes(report) == {
        "bad": "failed",
        "stranded": "skipped",
        "deeper": "skipped",
        "free": "succeeded",
        "after": "succeeded",
    }
    assert reason(report, "stranded") == "Skipped: it needs 'bad', which failed"
    assert reason(report, "deeper") == "Skipped: it needs 'stranded', which was skipped"
    assert [leaf.step for leaf in script.landed[0].leaves] == ["after"]
    assert report.branch is not None


async def test_an_optional_failure_lets_the_run_succeed(client: Client) -> None:
    script = Script({"nice": ["fail"]})
    plan = plan_of({"nice": {"optional": True}, "must": ""})

    report = await run(client, plan, script)

    assert report.outcome == "succeeded"
    assert outcomes(report) == {"nice": "failed", "must": "succeeded"}


async def test_a_required_step_stranded_by_an_optional_one_fails_the_run_by_name(
    client: Client,
) -> None:
    script = Script({"nice": ["fail"]})
    plan = plan_of({"nice": {"optional": True}, "must": "nice"})

    report = await run(client, plan, script)

    assert report.outcome == "failed"
    assert report.reason == "step 'must' was skipped: Skipped: it needs 'nice', which failed"


async def test_a_failed_attempt_is_tried_again_until_one_succeeds(client: Client) -> None:
    script = Script({"a": ["fail", "time_out", "succeed"]})
    retry = {"attempts": 3, "initial": "1s", "maximum": "1s"}

    report = await run(client, plan_of({"a": {"retry": retry}}), script)

    assert report.outcome == "succeeded"
    assert report.steps[0].attempts == 3
    assert report.steps[0].reason is None
    assert report.steps[0].result == "a-3"


async def test_attempts_run_out_with_the_last_reason(client: Client) -> None:
    script = Script({"a": ["fail", "time_out"]})
    retry = {"attempts": 2, "initial": "1s"}

    report = await run(client, plan_of({"a": {"retry": retry}}), script)

    assert outcomes(report) == {"a": "timed_out"}
    assert reason(report, "a") == "TimedOut: no end after 1s"
    assert script.started == ["a", "a"]


async def test_what_stays_wrong_is_not_tried_again(client: Client) -> None:
    script = Script({"a": ["fail_for_good"]})

    report = await run(client, plan_of({"a": {"retry": {"attempts": 5}}}), script)

    assert script.started == ["a"]
    assert outcomes(report) == {"a": "failed"}


async def test_a_step_that_backs_off_gives_its_slot_back(client: Client) -> None:
    script = Script({"a": ["fail", "succeed"], "b": ["succeed"]})
    retry = {"attempts": 2, "initial": "2s"}
    plan = plan_of({"a": {"retry": retry}, "b": ""}, max_parallel=1)

    report = await run(client, plan, script)

    assert script.started == ["a", "b", "a"]
    assert report.outcome == "succeeded"


async def test_broken_machinery_fails_the_step_under_its_name(client: Client) -> None:
    report = await run(client, plan_of({"a": ""}), Script({"a": ["break"]}))

    assert outcomes(report) == {"a": "failed"}
    assert reason(report, "a") == "Conflict: a.py is in conflict"


async def test_a_base_that_cannot_be_had_ends_the_run_before_any_step(client: Client) -> None:
    script = Script(base_fails="UnknownRevision")

    report = await run(client, plan_of({"a": "", "b": "a"}), script)

    assert report.outcome == "failed"
    assert report.reason == "UnknownRevision: no such base"
    assert outcomes(report) == {"a": "skipped", "b": "skipped"}
    assert script.started == []


async def test_a_conflict_at_landing_fails_the_run_and_keeps_the_steps_reports(
    client: Client,
) -> None:
    report = await run(client, plan_of({"a": "", "b": ""}), Script(landing_fails="Conflict"))

    assert report.outcome == "failed"
    assert report.reason == "Conflict: a.py"
    assert outcomes(report) == {"a": "succeeded", "b": "succeeded"}
    assert report.branch is None


async def test_an_agent_that_nobody_defines_is_refused_before_any_step(client: Client) -> None:
    script = Script()
    plan = plan_of({"a": {"run": None, "agent": "ghost"}})

    report = await run(client, plan, script)

    assert report.outcome == "failed"
    assert (report.reason or "").startswith("PlanRefused: step 'a' is for agent 'ghost'")


async def test_a_cancelled_run_is_cancelled_everywhere_once_its_agents_have_ended(
    client: Client,
) -> None:
    script = Script({"a": ["hang"], "b": ["hang"]})

    async with started(client, plan_of({"a": "", "b": "", "c": "a"}), script) as (runs, run_id):
        await until(lambda: script.running == 2)
        await runs.cancel(run_id, "enough")
        report = await runs.wait(run_id)
        status = (await client.get_workflow_handle(run_id).describe()).status

    assert script.running == 0
    assert report.outcome == "cancelled"
    assert outcomes(report) == {"a": "cancelled", "b": "cancelled", "c": "skipped"}
    assert status is WorkflowExecutionStatus.CANCELED
    assert report.steps[0].result == "a-1"


async def test_a_cancel_by_signal_alone_ends_the_run_too(client: Client) -> None:
    script = Script({"a": ["hang"]})

    async with started(client, plan_of({"a": ""}), script) as (runs, run_id):
        await until(lambda: script.running == 1)
        await client.get_workflow_handle(run_id).signal("cancel", {"reason": "by hand"})
        report = await runs.wait(run_id)

    assert report.outcome == "cancelled"
    assert report.reason == "Cancelled: by hand"


async def test_a_second_cancel_changes_nothing(client: Client) -> None:
    script = Script({"a": ["hang"]})

    async with started(client, plan_of({"a": ""}), script) as (runs, run_id):
        await until(lambda: script.running == 1)
        await asyncio.gather(*(runs.cancel(run_id) for _ in range(3)))
        report = await runs.wait(run_id)
        await runs.cancel(run_id)

    assert outcomes(report) == {"a": "cancelled"}


async def test_a_cancelled_step_strands_its_dependents_and_spares_its_siblings(
    client: Client,
) -> None:
    script = Script({"a": ["hang"], "b": ["slow"]})

    async with started(client, plan_of({"a": "", "b": "", "c": "a"}), script) as (runs, run_id):
        await until(lambda: script.running == 2)
        step = await runs.cancel_step(run_id, "a")
        script.release.set()
        report = await runs.wait(run_id)

    assert step.outcome == "cancelled"
    assert outcomes(report) == {"a": "cancelled", "b": "succeeded", "c": "skipped"}
    assert reason(report, "c") == "Skipped: it needs 'a', which was cancelled"


@pytest.mark.parametrize("act", ["hang_then_fail", "hang_then_stop"])
async def test_a_cancelled_step_is_cancelled_however_its_attempt_ends(
    client: Client, act: str
) -> None:
    script = Script({"a": [act], "b": ["slow"]})
    retry = {"attempts": 3, "initial": "1s"}
    plan = plan_of({"a": {"retry": retry}, "b": ""})

    async with started(client, plan, script) as (runs, run_id):
        await until(lambda: script.running == 2)
        await runs.cancel_step(run_id, "a")
        script.release.set()
        report = await runs.wait(run_id)

    assert outcomes(report) == {"a": "cancelled", "b": "succeeded"}
    assert script.started.count("a") == 1


async def test_what_a_step_returned_is_reported_even_if_a_sibling_failed_at_that_moment(
    client: Client,
) -> None:
    names = [f"s{number:02}" for number in range(12)]
    script = Script({**{name: ["slow"] for name in names}, "s03": ["slow_fail"]})

    async with started(client, plan_of(dict.fromkeys(names, ""), max_parallel=12), script) as (
        runs,
        run_id,
    ):
        await until(lambda: script.running == 12)
        script.release.set()
        report = await runs.wait(run_id)

    assert outcomes(report) == script.returned


async def test_a_deadline_ends_a_run_whose_base_never_comes(client: Client) -> None:
    script = Script(base_never_comes=True)

    report = await run(client, plan_of({"a": ""}, deadline="2s"), script)

    assert report.outcome == "timed_out"
    assert outcomes(report) == {"a": "skipped"}


async def test_temporals_own_cancel_ends_a_run_whose_base_never_comes(client: Client) -> None:
    script = Script(base_never_comes=True)

    async with started(client, plan_of({"a": ""}), script) as (runs, run_id):
        await client.get_workflow_handle(run_id).cancel(reason="enough")
        report = await runs.wait(run_id)

    assert report.outcome == "cancelled"
    assert report.reason == "Cancelled: enough"


async def test_outputs_too_large_to_be_handed_on_fail_the_step_that_needs_them(
    client: Client,
) -> None:
    names = [f"s{number:02}" for number in range(20)]
    script = Script(output={"text": "x" * 60_000})
    plan = plan_of({**dict.fromkeys(names, ""), "join": " ".join(names)}, max_parallel=20)

    report = await run(client, plan, script)

    assert outcomes(report)["join"] == "failed"
    assert reason(report, "join").startswith("OutputsTooLarge: the outputs of 20 steps take")
    assert "join" not in script.started


async def test_outputs_of_forty_leaves_do_not_keep_a_run_from_landing(client: Client) -> None:
    names = [f"s{number:02}" for number in range(40)]
    script = Script(output={"text": "ü" * 30_000})

    report = await run(client, plan_of(dict.fromkeys(names, ""), max_parallel=40), script)

    assert report.outcome == "succeeded"
    assert script.landed[0].leaves[0].output is None
    # Which ones depends on the lengths of their times.
    assert any("left out" in reason(report, name) for name in names)


async def test_a_step_that_waits_can_be_cancelled(client: Client) -> None:
    script = Script({"a": ["slow"]})

    async with started(client, plan_of({"a": "", "b": "a"}), script) as (runs, run_id):
        await until(lambda: script.running == 1)
        await runs.cancel_step(run_id, "b")
        script.release.set()
        report = await runs.wait(run_id)

    assert outcomes(report) == {"a": "succeeded", "b": "cancelled"}
    assert script.started == ["a"]


async def test_a_step_that_is_unknown_or_has_ended_cannot_be_cancelled(client: Client) -> None:
    script = Script({"b": ["slow"]})

    async with started(client, plan_of({"a": "", "b": ""}), script) as (runs, run_id):
        await until(lambda: script.ended == ["a"])
        with pytest.raises(RefusedError, match="no step 'x'"):
            await runs.cancel_step(run_id, "x")
        with pytest.raises(RefusedError, match="'a' has ended: it succeeded"):
            await runs.cancel_step(run_id, "a")
        script.release.set()
        await runs.wait(run_id)


async def test_a_paused_run_starts_nothing_until_it_is_resumed(client: Client) -> None:
    script = Script({"a": ["slow"]})

    async with started(client, plan_of({"a": "", "b": "a"}), script) as (runs, run_id):
        await until(lambda: script.running == 1)
        await runs.pause(run_id)
        script.release.set()
        await until(lambda: script.ended == ["a"])
        paused = await runs.report(run_id)
        await runs.resume(run_id)
        report = await runs.wait(run_id)

    assert paused.status == "paused"
    assert "b" not in [step.step for step in paused.steps if step.attempts]
    assert report.outcome == "succeeded"


async def test_a_run_cancelled_while_it_is_paused_ends(client: Client) -> None:
    script = Script({"a": ["slow"]})

    async with started(client, plan_of({"a": "", "b": "a"}), script) as (runs, run_id):
        await until(lambda: script.running == 1)
        await runs.pause(run_id)
        script.release.set()
        await until(lambda: script.ended == ["a"])
        await runs.cancel(run_id)
        report = await runs.wait(run_id)

    assert outcomes(report) == {"a": "succeeded", "b": "cancelled"}


async def test_only_a_paused_run_can_be_resumed(client: Client) -> None:
    script = Script({"a": ["slow"]})

    async with started(client, plan_of({"a": ""}), script) as (runs, run_id):
        with pytest.raises(RefusedError, match="is not paused"):
            await runs.resume(run_id)
        script.release.set()
        await runs.wait(run_id)


async def test_a_run_past_its_deadline_times_out_and_ends_what_runs(client: Client) -> None:
    script = Script({"a": ["hang"]})

    report = await run(client, plan_of({"a": "", "b": "a"}, deadline="1s"), script)

    assert report.outcome == "timed_out"
    assert report.reason == "TimedOut: the run's deadline of 1s passed"
    assert outcomes(report) == {"a": "cancelled", "b": "skipped"}
    assert "deadline of 1s passed" in reason(report, "b")


async def test_a_step_past_its_total_times_out_and_is_not_tried_again(client: Client) -> None:
    script = Script({"a": ["fail", "hang"]})
    retry = {"attempts": 9, "initial": "1s", "maximum": "1s"}
    plan = plan_of(
        {"a": {"total": "2s", "retry": retry}, "b": "a", "c": {"total": "1h"}},
        on_failure="continue",
    )

    report = await run(client, plan, script)

    assert outcomes(report) == {"a": "timed_out", "b": "skipped", "c": "succeeded"}
    assert reason(report, "a") == "TimedOut: the step's total of 2s for all its attempts passed"
    assert script.started.count("a") == 2
    assert report.steps[0].attempts == 2
    assert report.steps[0].result == "a-2"


async def test_a_total_counts_the_waits_between_attempts_and_stops_the_run(
    client: Client,
) -> None:
    retry = {"attempts": 9, "initial": "1h", "maximum": "1h"}
    plan = plan_of({"a": {"retry": retry}, "b": ""}, defaults={"total": "1s"})

    report = await run(client, plan, Script({"a": ["fail"]}))

    assert report.outcome == "failed"
    assert outcomes(report) == {"a": "timed_out", "b": "succeeded"}
    assert "total of 1s" in reason(report, "a")
    assert report.steps[0].attempts == 1


async def test_a_total_begins_with_the_first_attempt_not_with_the_wait_for_a_place(
    client: Client,
) -> None:
    script = Script({"a": ["slow"]})
    plan = plan_of({"a": "", "b": {"total": "1s"}}, max_parallel=1)

    async with started(client, plan, script) as (runs, run_id):
        await until(lambda: script.started == ["a"])
        await asyncio.sleep(1.5)
        script.release.set()
        report = await runs.wait(run_id)

    assert outcomes(report) == {"a": "succeeded", "b": "succeeded"}


async def test_a_step_that_is_being_cancelled_stays_cancelled_when_its_total_passes(
    client: Client,
) -> None:
    script = Script({"a": ["hang"]})

    async with started(client, plan_of({"a": {"total": "2s"}}), script) as (runs, run_id):
        await until(lambda: script.started == ["a"])
        await runs.cancel_step(run_id, "a")
        report = await runs.wait(run_id)

    assert outcomes(report) == {"a": "cancelled"}


async def test_a_deadline_of_a_day_and_a_back_off_of_hours_are_waited_out(
    skipping_client: Client,
) -> None:
    script = Script({"a": ["fail", "fail", "fail"]})
    retry = {"attempts": 100, "initial": "10h", "maximum": "10h"}
    plan = plan_of({"a": {"retry": retry}}, deadline="24h")

    async with playing(skipping_client, script):
        # The clock of this server jumps only while somebody waits for a result.
        report = await skipping_client.execute_workflow(
            "RunPlan",
            RunRequest(plan=plan, repository="/nowhere"),
            id=new_run_id("day"),
            task_queue=RUN_QUEUE,
            result_type=RunReport,
        )

    assert report.outcome == "timed_out"
    assert script.started == ["a", "a", "a"]


async def test_what_was_tried_again_in_vain_for_an_hour_is_told_by_its_last_failure(
    skipping_client: Client,
) -> None:
    script = Script(base_never_comes=True)

    async with playing(skipping_client, script):
        report = await skipping_client.execute_workflow(
            "RunPlan",
            RunRequest(plan=plan_of({"a": ""}), repository="/nowhere"),
            id=new_run_id("vain"),
            task_queue=RUN_QUEUE,
            result_type=RunReport,
        )

    assert report.outcome == "failed"
    assert report.reason == "Locked: busy"


async def test_starting_twice_with_one_id_finds_the_running_one(client: Client) -> None:
    script = Script({"a": ["slow"]})
    request = RunRequest(plan=plan_of({"a": ""}), repository="/nowhere")

    async with playing(client, script):
        runs, run_id = Branchwork(client), new_run_id("twice")
        first = await runs.start(request, run_id)
        second = await runs.start(request, run_id)
        script.release.set()
        await runs.wait(run_id)
        with pytest.raises(RefusedError, match="has ended; choose another id"):
            await runs.start(request, run_id)

    assert first == second == run_id
    assert script.started == ["a"]


async def test_an_id_under_way_with_another_plan_is_refused(client: Client) -> None:
    script = Script({"a": ["slow"]})
    asked = RunRequest(plan=plan_of({"a": ""}), repository="/nowhere")
    other = RunRequest(plan=plan_of({"b": ""}), repository="/nowhere")

    async with playing(client, script):
        runs, run_id = Branchwork(client), new_run_id("twice")
        await runs.start(asked, run_id)
        with pytest.raises(RefusedError, match="under way with another plan"):
            await runs.start(other, run_id)
        script.release.set()
        report = await runs.wait(run_id)

    assert outcomes(report) == {"a": "succeeded"}


async def test_a_request_that_cannot_be_read_fails_the_run_instead_of_hanging_it(
    client: Client,
) -> None:
    request = {"plan": {"plan": "x", "steps": []}, "repository": "/nowhere"}

    async with playing(client, Script()):
        with pytest.raises(WorkflowFailureError) as failure:
            await client.execute_workflow(
                "RunPlan", request, id=new_run_id("bad"), task_queue=RUN_QUEUE
            )

    assert "the plan has no steps" in str(failure.value.cause)
