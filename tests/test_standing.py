"""Who may go on with what an attempt left on a host, decided by what the run waits for."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from branchwork.client import Branchwork
from branchwork.contract import AttemptEnd, AttemptRequest, Pulse, RunRequest
from branchwork.names import new_run_id
from branchwork.standing import Standing, UnderWay, standing_of, why_left_over
from scripted import Script, plan_of, started

OVER = Standing(ended_at=datetime(2026, 1, 1, tzinfo=UTC))


def waiting_for(attempt: int, host: str | None = None, step: str = "s") -> Standing:
    return Standing(attempts={step: UnderWay(attempt=attempt, host=host)})


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (OVER, "its run has ended"),
        (Standing(), "its step has ended, or waits for another attempt"),
        (waiting_for(2, "here", "another"), "its step has ended, or waits for another attempt"),
        (waiting_for(2, "there"), "its attempt runs on there"),
        (waiting_for(3, "here"), "attempt 3 of its step is under way"),
        (waiting_for(3), "attempt 3 of its step is under way"),
        (waiting_for(2), None),
        (waiting_for(2, "here"), None),
        # A run that was reset in Temporal begins again with attempt 1.
        (waiting_for(1, "here"), None),
        (waiting_for(1, "there"), "its attempt runs on there"),
        # It may be about to hand the attempt to this host.
        (Standing(is_deciding=True), None),
        (Standing(undecided=frozenset({"s"})), None),
        (Standing(undecided=frozenset({"t"})), "its step has ended, or waits for another attempt"),
    ],
)
def test_what_attempt_2_left_here_is_left_over_only_when_nobody_can_go_on_with_it(
    standing: Standing, reason: str | None
) -> None:
    assert why_left_over(standing, "s", 2, "here") == reason


class Telling(Script):
    """Attempts that tell they run `here`; `silent` tells nothing, `flaky` waits for a retry."""

    @activity.defn(name="run_step")
    async def run_step(self, request: AttemptRequest) -> AttemptEnd:
        if request.step.id != "silent":
            activity.heartbeat(Pulse(host="here", phase="agent"))
        if request.step.id == "flaky":
            raise ApplicationError("later", next_retry_delay=timedelta(minutes=5))
        return await super().run_step(request)


async def test_a_run_stands_where_its_server_says(client: Client) -> None:
    script = Telling({"x.run.2": ["slow"], "silent": ["hang"], "flaky": ["hang"]})
    plan = plan_of({"x.run.2": "", "silent": "", "flaky": "", "waits": "silent"})
    here = {
        "x.run.2": UnderWay(attempt=1, host="here"),
        "silent": UnderWay(attempt=1),
        "flaky": UnderWay(attempt=1),
    }

    async with started(client, plan, script) as (runs, run):
        standing = await until_standing(client, run, here)
        await runs.cancel(run)
        await runs.wait(run)
        over = await standing_of(client, run)

    assert (standing.ended_at, standing.undecided) == (None, frozenset())
    assert over
    assert over.ended_at
    assert over.attempts == {}


async def test_a_run_of_which_no_worker_knows_what_happened_is_deciding(client: Client) -> None:
    run = await Branchwork(client).start(
        RunRequest(plan=plan_of({"a": ""}), repository="/nowhere"), new_run_id("test")
    )

    standing = await standing_of(client, run)

    assert standing
    assert standing.is_deciding
    await client.get_workflow_handle(run).terminate()


async def test_a_run_that_the_server_does_not_know_has_no_standing(client: Client) -> None:
    assert await standing_of(client, "another-server's") is None


async def until_standing(client: Client, run: str, wanted: dict[str, UnderWay]) -> Standing:
    async with asyncio.timeout(20):
        while True:
            standing = await standing_of(client, run)
            assert standing
            if standing.attempts == wanted:
                return standing
            await asyncio.sleep(0.05)
