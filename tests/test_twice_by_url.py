"""Every activity called twice, by one host or by two, on a repository that is named by its URL."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from activities.git import GitError
from benches import Bench, call
from branchwork.contract import AttemptRequest, BaseRequest, LandRequest, Need
from branchwork.names import base_ref, result_ref, step_ref
from repositories import commit_on, files_of, head_of, refs_of, run_git

RUN = "run-1"


class Remote:
    """And two hosts that know nothing of each other."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there = Bench(folder / "here"), Bench(folder / "there")
        run_git(folder, "clone", "--quiet", "--bare", str(self.here.repository), "shared.git")
        self.bare = folder / "shared.git"
        self.url = f"file://{self.bare}"

    async def base(self, host: Bench, revision: str = "main", *reuse: Need) -> str:
        request = BaseRequest(run=RUN, repository=self.url, revision=revision, reuse=reuse)
        commit: str = (await call(host.runs.resolve_base, request)).commit
        return commit

    def attempt(self, step: str, run: str, *needs: Need, **update: object) -> AttemptRequest:
        request = self.here.request(run, id=step)
        base = head_of(self.bare, base_ref(RUN))
        fields = {"repository": self.url, "base": base, "needs": needs, **update}
        return request.model_copy(update=fields)

    def push(self, files: dict[str, str | None]) -> None:
        made = commit_on(self.here.repository, "main", files)
        run_git(self.here.repository, "push", "--quiet", str(self.bare), f"{made}:refs/heads/main")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path)


async def test_a_base_is_pinned_once_though_its_branch_moves_on(remote: Remote) -> None:
    first = await remote.base(remote.here)
    remote.push({"new": "new"})
    again = [await remote.base(host) for host in (remote.here, remote.there)]

    assert again == [first, first]
    assert refs_of(remote.bare) == {base_ref(RUN): first}
    assert head_of(remote.bare, "main") != first


async def test_what_the_base_lacks_is_told_before_anything_is_pinned(remote: Remote) -> None:
    request = BaseRequest(
        run=RUN, repository=remote.url, revision="main", requires=(("s", "missing"),)
    )

    with pytest.raises(ApplicationError, match="does not hold") as error:
        await call(remote.here.runs.resolve_base, request)

    assert error.value.type == "MissingRequired"
    assert refs_of(remote.bare) == {}


async def test_results_of_another_run_are_taken_over_by_a_host_that_never_had_them(
    remote: Remote,
) -> None:
    old = commit_on(remote.here.repository, "main", {"old": "old"})
    run_git(
        remote.here.repository, "push", "--quiet", str(remote.bare), f"{old}:{step_ref('old', 's')}"
    )

    for _ in range(2):
        await remote.base(remote.there, "main", Need(step="s", commit=old))
    with pytest.raises(ApplicationError, match="no longer holds the results of 't'") as error:
        await remote.base(remote.there, "main", Need(step="t", commit="1" * 40))

    assert refs_of(remote.bare)[step_ref(RUN, "s")] == old
    assert error.value.type == "ResultGone"


async def test_an_attempt_that_has_ended_is_not_run_again(remote: Remote, tmp_path: Path) -> None:
    await remote.base(remote.here)
    ledger = tmp_path / "ledger"
    request = remote.attempt("s", f"echo x >> {ledger}; echo made > made")

    first = await call(remote.here.steps.run_step, request)
    second = await call(remote.here.steps.run_step, request)

    assert first == second
    assert ledger.read_text() == "x\n"
    assert refs_of(remote.bare)[step_ref(RUN, "s")] == first.result


async def test_a_later_turn_of_another_host_wins_and_both_works_are_kept(remote: Remote) -> None:
    await remote.base(remote.here)
    later = remote.attempt("s", "echo there > made", turn=2)
    earlier = remote.attempt("s", "echo here > made")

    won = await call(remote.there.steps.run_step, later)
    await call(remote.here.steps.run_step, earlier)

    refs = refs_of(remote.bare)
    kept = {files_of(remote.bare, commit)["made"] for ref, commit in refs.items() if "/s" in ref}
    assert refs[step_ref(RUN, "s")] == won.result
    assert kept == {"here", "there"}


async def test_a_step_starts_from_what_another_host_made_and_either_lands_it(
    remote: Remote,
) -> None:
    base = await remote.base(remote.here)
    one = await call(remote.here.steps.run_step, remote.attempt("one", "echo 1 > one"))
    need = Need(step="one", commit=one.result)
    two = await call(remote.there.steps.run_step, remote.attempt("two", "cat one > two", need))
    leaf = Need(step="two", commit=two.result)
    landing = LandRequest(run=RUN, repository=remote.url, base=base, leaves=(leaf,))

    landed = [await call(host.runs.land_run, landing) for host in (remote.here, remote.there)]

    assert landed[0] == landed[1]
    assert refs_of(remote.bare)[result_ref(RUN)] == landed[0].commit
    assert files_of(remote.bare, landed[0].branch) == {"README": "start", "one": "1", "two": "1"}


async def test_two_sides_that_conflict_are_named(remote: Remote) -> None:
    await remote.base(remote.here)
    ends = [
        await call(host.steps.run_step, remote.attempt(name, f"echo {name} > README"))
        for name, host in (("one", remote.here), ("two", remote.there))
    ]
    needs = [
        Need(step=name, commit=end.result) for name, end in zip(("one", "two"), ends, strict=True)
    ]

    with pytest.raises(ApplicationError, match="README") as error:
        await call(remote.there.steps.run_step, remote.attempt("three", "true", *needs))

    assert error.value.type == "Conflict"


async def test_work_that_cannot_be_pushed_stays_until_it_can(
    remote: Remote, tmp_path: Path
) -> None:
    await remote.base(remote.here)
    request = remote.attempt("s", "true")
    place = remote.here.place(request)
    place.record(base=place.make(), began=True)
    (place.worktree / "half").write_text("half\n")
    remote.bare.rename(tmp_path / "away.git")

    with pytest.raises(GitError, match="refused"):
        place.keep_leftover(datetime.now(UTC))
    (here,) = refs_of(place.repository, "refs/branchwork/run-1/attempts").values()
    was_there = place.worktree.exists()
    (tmp_path / "away.git").rename(remote.bare)
    place.keep_leftover(datetime.now(UTC))

    (there,) = refs_of(remote.bare, "refs/branchwork/run-1/attempts").values()
    assert was_there
    assert files_of(place.repository, here)["half"] == "half"
    assert files_of(remote.bare, there)["half"] == "half"
    assert not place.worktree.exists()
