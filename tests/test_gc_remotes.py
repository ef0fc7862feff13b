"""`gc` and repositories by URL: refs on the remote, and this host's clones."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activities.blocking import Blocking
from activities.gc import Collector
from activities.gc_scene import Scene
from activities.remotes import Remote
from branchwork.collecting import Leftover, Removal, Retention
from branchwork.names import StateFolder
from branchwork.standing import Standing
from repositories import dated_commit, head_of, make_repository, refs_of, run_git

NOW = datetime.now(UTC)
LONG_AGO = Standing(ended_at=NOW - timedelta(days=40))
REF = "refs/branchwork/run-1/steps/s"


class Far:
    """A bare remote, a checkout to push from, and this host's clone of it."""

    def __init__(self, folder: Path) -> None:
        self.checkout = make_repository(folder / "checkout")
        run_git(folder, "clone", "--quiet", "--bare", str(self.checkout), "origin.git")
        self.origin = folder / "origin.git"
        self.url = f"file://{self.origin}"
        self.state = StateFolder(folder / "state")
        self.clone = self.state.repository(self.url)
        Remote(self.url, self.clone).make_clone()

    def push(self, ref: str, days: int) -> str:
        """To the remote, a commit of that age; this host has never seen it."""
        commit = dated_commit(self.checkout, NOW - timedelta(days=days), ref)
        run_git(self.checkout, "push", "--quiet", str(self.origin), f"{commit}:{ref}")
        return commit

    def collector(self, standings: Mapping[str, Standing]) -> Collector:
        async def standing_of(run: str) -> Standing | None:
            return standings.get(run)

        retention = Retention(keep_for=timedelta(days=30), now=datetime.now(UTC))
        repositories = (self.clone,)
        return Collector(
            Scene(self.state, "here", {}, repositories, retention, Blocking(2), standing_of)
        )

    def age(self) -> None:
        then = (NOW - timedelta(days=40)).timestamp()
        for path in [self.clone, *self.clone.rglob("*")]:
            os.utime(path, (then, then))


@pytest.fixture
def far(tmp_path: Path) -> Far:
    return Far(tmp_path)


async def remove_all(collector: Collector) -> list[Removal]:
    removals: list[Removal] = []
    await collector.remove_all(removals.append)
    return removals


def shown(leftovers: list[Leftover]) -> list[tuple[str, str, str | None]]:
    return [(leftover.doing, leftover.kind, leftover.run) for leftover in leftovers]


async def test_refs_of_a_run_that_ended_long_ago_go_from_the_remote_too(far: Far) -> None:
    far.push(REF, 40)
    far.push("refs/branchwork/run-1/attempts/s/1", 40)
    result = far.push("refs/heads/branchwork/run-1", 40)
    far.push("refs/branchwork/late/attempts/s/1", 3)

    standings = {"run-1": LONG_AGO, "late": LONG_AGO}
    found = await far.collector(standings).find()
    removals = await remove_all(far.collector(standings))

    assert shown(found) == [("remove", "refs", "run-1")]
    assert found[0].repository == far.url
    assert [removal.is_done for removal in removals] == [True]
    assert list(refs_of(far.origin)) == ["refs/branchwork/late/attempts/s/1"]
    assert head_of(far.origin, "branchwork/run-1") == result


async def test_refs_on_a_remote_of_a_run_that_no_server_here_knows_stay_while_young(
    far: Far,
) -> None:
    far.push(REF, 3)
    run_git(far.checkout, "push", "--quiet", str(far.origin), "HEAD:refs/branchwork/another/base")

    found = await far.collector({}).find()

    assert shown(found) == [("leave", "refs", "another"), ("leave", "refs", "run-1")]


async def test_a_ref_that_moved_on_the_remote_since_it_was_found_stays(far: Far) -> None:
    far.push(REF, 40)
    collecting = far.collector({"run-1": LONG_AGO})
    (found,) = await collecting.find()
    run_git(far.origin, "update-ref", REF, "HEAD")

    with pytest.raises(Exception, match="meanwhile"):
        await collecting.remove(found)

    assert refs_of(far.origin)[REF] == head_of(far.origin)


async def test_a_remote_that_does_not_answer_is_named_and_left(far: Far, tmp_path: Path) -> None:
    far.origin.rename(tmp_path / "away")

    (found,) = await far.collector({}).find()

    assert (found.doing, found.what) == ("leave", far.url)


async def test_a_clone_that_no_run_used_for_long_is_removed(far: Far) -> None:
    young = await far.collector({}).find()
    far.age()
    (removal,) = await remove_all(far.collector({}))

    assert young == []
    assert (removal.leftover.kind, removal.is_done) == ("clone", True)
    assert not far.clone.exists()
    assert await far.collector({}).find() == []


async def test_a_clone_with_refs_of_a_run_is_not_named(far: Far) -> None:
    run_git(far.clone, "update-ref", "refs/branchwork/run-1/base", "refs/remotes/origin/main")
    far.age()

    assert await far.collector({"run-1": Standing()}).find() == []


@pytest.mark.parametrize("ref", ["refs/heads/mine", "refs/tags/mine"])
async def test_a_clone_that_alone_holds_what_an_agent_made_is_left(far: Far, ref: str) -> None:
    commit = far.push("refs/heads/elsewhere", 40)
    run_git(far.clone, "fetch", "--quiet", "--no-tags", far.url, f"{commit}:{ref}")
    far.age()

    (found,) = await far.collector({}).find()

    assert (found.doing, found.kind) == ("leave", "clone")
    assert "agents made" in found.reason


async def test_a_tag_of_the_remote_keeps_no_clone(far: Far) -> None:
    commit = far.push("refs/tags/v1", 40)
    run_git(far.clone, "fetch", "--quiet", "--no-tags", far.url, f"{commit}:refs/tags/v1")
    far.age()

    (found,) = await far.collector({}).find()

    assert (found.doing, found.kind) == ("remove", "clone")
