"""Who is handed an attempt when a worker falls silent: scripted workers, a real server."""

from temporalio.client import Client

from fleets import Fleet, run


async def test_the_host_that_fell_silent_is_asked_first(client: Client) -> None:
    fleet = Fleet(turns=["silent on a", "end"])

    report = await run(client, fleet, ["a"])

    assert report.outcome == "succeeded"
    assert fleet.taken == ["1 of 1 on branchwork.steps", "2 of 1 on branchwork.host.a"]
    assert fleet.asked == []
    assert (report.steps[0].attempts, report.steps[0].reason) == (1, None)


async def test_a_host_that_holds_finished_work_is_asked_again(client: Client) -> None:
    fleet = Fleet(turns=["hold on a", "hold on a", "end"])

    report = await run(client, fleet, ["a"])

    assert report.outcome == "succeeded"
    assert fleet.taken == [
        "1 of 1 on branchwork.steps",
        "2 of 1 on branchwork.host.a",
        "3 of 1 on branchwork.host.a",
    ]


async def test_a_worker_that_stops_in_order_is_asked_first_too(client: Client) -> None:
    fleet = Fleet(turns=["stop on a", "end"])

    report = await run(client, fleet, ["a"])

    assert report.outcome == "succeeded"
    assert fleet.taken[-1] == "2 of 1 on branchwork.host.a"


async def test_a_worker_that_was_silent_from_the_beginning_gives_way_to_anyone(
    client: Client,
) -> None:
    fleet = Fleet(turns=["silent", "end"])

    await run(client, fleet)

    assert fleet.taken == ["1 of 1 on branchwork.steps", "2 of 1 on branchwork.steps"]


async def test_a_lost_host_gives_way_to_anyone_of_the_pool(client: Client) -> None:
    fleet = Fleet(turns=["silent on a", "end"], heard=[False])

    report = await run(client, fleet)

    assert report.outcome == "succeeded"
    assert fleet.asked == ["a"]
    assert fleet.taken == ["1 of 1 on branchwork.steps", "3 of 1 on branchwork.steps"]


async def test_a_busy_host_is_no_lost_one_and_is_asked_again(client: Client) -> None:
    fleet = Fleet(turns=["silent on a", "end"], heard=[True, True, False])

    await run(client, fleet)

    assert fleet.asked == ["a", "a", "a"]
    assert fleet.taken[-1] == "5 of 1 on branchwork.steps"


async def test_the_fourth_host_that_is_lost_ends_the_attempt(client: Client) -> None:
    fleet = Fleet(turns=[f"silent on {host}" for host in "abcd"], heard=[False])

    report = await run(client, fleet)

    assert report.outcome == "failed"
    assert str(report.steps[0].reason).startswith("HostLost: a, b, c, d went away")
    assert report.steps[0].attempts == 1


async def test_a_host_that_takes_up_its_attempt_itself_was_not_lost(client: Client) -> None:
    fleet = Fleet(turns=[*(["silent on a"] * 5), "end"], heard=[False])

    report = await run(client, fleet)

    assert report.outcome == "succeeded"
    assert fleet.asked == ["a"] * 5
