"""An attempt's work on its refs: nothing is lost, and no earlier turn goes over a later one."""

from pathlib import Path

import pytest

from activities.publishing import Turn, Work, publish, trailers_of
from activities.repositories import PathRepository, Repository, repository_of
from branchwork.contract import AttemptRequest
from branchwork.names import StateFolder
from branchwork.plan import AgentSpec, Step
from repositories import commit_on, files_of, head_of, make_repository, parents_of, refs_of, run_git

ATTEMPT = "refs/branchwork/run-1/attempts/s/1"
STEP = "refs/branchwork/run-1/steps/s"


class Hosts:
    """Two hosts that publish to one repository: on a path that they share, or by its URL."""

    def __init__(self, folder: Path, *, by_url: bool) -> None:
        origin = make_repository(folder / "origin")
        self.shared = origin
        if by_url:
            run_git(folder, "clone", "--quiet", "--bare", str(origin), "shared.git")
            self.shared = folder / "shared.git"
        self.address = f"file://{self.shared}" if by_url else str(self.shared)
        self.base = head_of(origin)
        self.here, self.there = (self._host(folder / name) for name in ("here", "there"))

    def _host(self, state: Path) -> Repository:
        host = repository_of(self.address, StateFolder(state))
        host.bring("run-1", {"refs/branchwork/run-1/base": self.base})
        return host

    def work(self, host: Repository, text: str, turn: tuple[int, int] = (1, 1)) -> Work:
        """As `keep_work` leaves it: a commit with the trailers of its turn."""
        request = AttemptRequest(
            run="run-1",
            repository=self.address,
            step=Step(id="s", run="true"),
            agent=AgentSpec(run="true"),
            attempt=turn[0],
            turn=turn[1],
            base=self.base,
        )
        message = f"s: command\n\n{trailers_of(request)}"
        return self.made(commit_on(host.folder, self.base, {"made": text}, message), turn)

    def made(self, commit: str, turn: tuple[int, int] = (1, 1)) -> Work:
        return Work(
            run="run-1",
            step="s",
            turn=Turn(*turn),
            commit=commit,
            left=(),
            has_work=commit != self.base,
            succeeded=True,
        )

    def refs(self) -> dict[str, str]:
        return refs_of(self.shared)


@pytest.fixture(params=["path", "url"])
def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> Hosts:
    return Hosts(tmp_path, by_url=request.param == "url")


def test_work_is_published_once_however_often_it_is_asked_for(hosts: Hosts) -> None:
    work = hosts.work(hosts.here, "work")

    kept = [publish(hosts.here, work) for _ in range(3)]

    assert kept == [ATTEMPT] * 3
    assert hosts.refs() == {ATTEMPT: work.commit, STEP: work.commit}


def test_a_later_turn_goes_over_an_earlier_one_and_keeps_it_aside(hosts: Hosts) -> None:
    earlier = hosts.work(hosts.here, "earlier")
    later = hosts.work(hosts.there, "later", (1, 2))

    publish(hosts.here, earlier)
    kept = publish(hosts.there, later)

    aside = f"{ATTEMPT}.aside-{earlier.commit[:12]}"
    assert kept == ATTEMPT
    assert hosts.refs() == {ATTEMPT: later.commit, STEP: later.commit, aside: earlier.commit}


def test_an_earlier_turn_that_comes_late_keeps_its_work_aside(hosts: Hosts) -> None:
    earlier = hosts.work(hosts.here, "earlier")
    later = hosts.work(hosts.there, "later", (1, 2))

    publish(hosts.there, later)
    kept = [publish(hosts.here, earlier) for _ in range(2)]

    aside = f"{ATTEMPT}.aside-{earlier.commit[:12]}"
    assert kept == [aside] * 2
    assert hosts.refs() == {ATTEMPT: later.commit, STEP: later.commit, aside: earlier.commit}


@pytest.mark.parametrize("later", [(1, 2), (2, 1), (2, 3)])
def test_later_work_that_tells_no_turn_itself_is_not_gone_over(
    hosts: Hosts, later: tuple[int, int]
) -> None:
    agents_own = commit_on(hosts.there.folder, hosts.base, {"made": "by git"}, "my own message")

    publish(hosts.there, hosts.made(agents_own, later))
    publish(hosts.here, hosts.work(hosts.here, "earlier"))

    published = hosts.refs()[STEP]
    assert parents_of(hosts.shared, published) == [agents_own]
    assert files_of(hosts.shared, published)["made"] == "by git"


def test_a_later_turn_that_changed_nothing_is_not_gone_over_either(hosts: Hosts) -> None:
    publish(hosts.there, hosts.made(hosts.base, (1, 2)))
    kept = publish(hosts.here, hosts.work(hosts.here, "earlier"))

    assert kept == ATTEMPT
    assert files_of(hosts.shared, hosts.refs()[STEP]).keys() == {"README"}
    assert files_of(hosts.shared, hosts.refs()[ATTEMPT])["made"] == "earlier"


def test_a_second_attempt_goes_over_the_step_of_the_first(hosts: Hosts) -> None:
    first = hosts.work(hosts.here, "first")
    second = hosts.work(hosts.there, "second", (2, 1))

    publish(hosts.here, first)
    publish(hosts.there, second)
    publish(hosts.here, first)

    refs = hosts.refs()
    assert refs == {
        ATTEMPT: first.commit,
        "refs/branchwork/run-1/attempts/s/2": second.commit,
        STEP: second.commit,
    }


def test_the_same_turn_again_counts_as_the_newer(hosts: Hosts) -> None:
    """A run that was reset in Temporal counts from 1 again."""
    before, after = (hosts.work(hosts.here, text) for text in ("before", "after"))

    publish(hosts.here, before)
    publish(hosts.here, after)

    assert hosts.refs()[STEP] == after.commit
    assert before.commit in hosts.refs().values()


def test_the_same_work_committed_later_is_not_kept_twice(hosts: Hosts) -> None:
    first = commit_on(hosts.here.folder, hosts.base, {"b": "b"}, "at first")
    again = commit_on(hosts.here.folder, hosts.base, {"b": "b"}, "again")

    for commit in (first, again):
        publish(hosts.here, hosts.made(commit))

    assert hosts.refs() == {ATTEMPT: again, STEP: again}


def test_commits_that_the_work_does_not_contain_are_kept_beside_it(hosts: Hosts) -> None:
    left = commit_on(hosts.here.folder, hosts.base, {"c": "left"})
    work = hosts.work(hosts.here, "work")._replace(left=(left,))

    for _ in range(2):
        publish(hosts.here, work)

    assert hosts.refs()[f"{ATTEMPT}.aside-{left[:12]}"] == left


def test_late_work_goes_over_nothing(hosts: Hosts) -> None:
    work = hosts.work(hosts.here, "work")
    late = hosts.work(hosts.here, "late")._replace(succeeded=False, is_late=True)

    publish(hosts.here, work)
    kept = publish(hosts.here, late)

    assert kept == f"{ATTEMPT}.aside-{late.commit[:12]}"
    assert hosts.refs() == {ATTEMPT: work.commit, STEP: work.commit, str(kept): late.commit}


def test_late_work_that_nobody_came_before_is_on_the_attempts_ref(hosts: Hosts) -> None:
    late = hosts.work(hosts.here, "late")._replace(succeeded=False, is_late=True)

    assert publish(hosts.here, late) == ATTEMPT
    assert hosts.refs() == {ATTEMPT: late.commit}


def test_trailers_of_another_step_tell_nothing_of_this_one(tmp_path: Path) -> None:
    """A step that changed nothing ends with what it started from."""
    hosts = Hosts(tmp_path, by_url=False)
    other = commit_on(
        hosts.shared,
        hosts.base,
        {"a": "a"},
        "a: x\n\nBranchwork-Run: run-1\nBranchwork-Step: a\nBranchwork-Attempt: 7\n",
    )
    unchanged = hosts.made(other)._replace(has_work=False)
    made = hosts.work(hosts.here, "made")

    publish(PathRepository(hosts.shared), unchanged)
    publish(PathRepository(hosts.shared), made)

    assert hosts.refs()[STEP] == made.commit
