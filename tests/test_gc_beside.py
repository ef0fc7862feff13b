"""`gc --yes` again and again, beside runs that are under way: it takes nothing that is used."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from temporalio.client import Client

from activities.blocking import Blocking
from activities.gc import Collector
from activities.gc_scene import Scene
from branchwork.collecting import Removal, Retention
from branchwork.standing import standing_of
from repositories import files_of, make_repository
from workers import Host, serving

FLAKY = "echo x >> $BRANCHWORK_STEP; test $BRANCHWORK_ATTEMPT = 2"


def collector(client: Client, host: Host, repository: Path) -> Collector:
    """For which everything that ended is old."""
    retention = Retention(keep_for=timedelta(milliseconds=1), now=datetime.now(UTC))
    ask = partial(standing_of, client)
    return Collector(Scene(host.state, "test-host", {}, (repository,), retention, Blocking(2), ask))


async def test_a_run_beside_which_everything_old_is_removed_ends_as_it_should(
    client: Client, tmp_path: Path
) -> None:
    repository = make_repository(tmp_path / "repository")
    retry = {"attempts": 2, "initial": "300ms"}
    steps = [
        *({"id": f"a{n}", "run": FLAKY, "retry": retry, "creates": [f"a{n}"]} for n in range(4)),
        {"id": "last", "run": "cat a* > last", "requires": [f"a{n}" for n in range(4)]},
    ]
    removals: list[Removal] = []
    async with serving(client, tmp_path) as host:
        run = await host.start(repository, {"steps": steps})
        waiting = asyncio.ensure_future(host.runs.wait(run))
        while not waiting.done():
            await collector(client, host, repository).remove_all(removals.append)
        report = await waiting

    assert report.outcome == "succeeded", (report, removals)
    assert [step.attempts for step in report.steps] == [2, 2, 2, 2, 1]
    assert files_of(repository, str(report.branch))["last"] == "x\nx\nx\nx"
