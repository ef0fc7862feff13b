import os
import time
from pathlib import Path

import pytest

from activities.git import GitError
from activities.landing import Landed
from activities.landing import land as land_in
from activities.merges import MergeConflict, Side
from activities.repositories import PathRepository
from repositories import (
    commit_on,
    files_of,
    head_of,
    make_repository,
    refs_of,
    run_git,
    state_of,
)

RUN = "refactor-abcdefgh"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "r")


def land(repository: Path, run: str, base: str, sides: list[Side]) -> Landed:
    return land_in(PathRepository(repository), run, base, sides)


def leaves(repository: Path, *names: str) -> list[Side]:
    base = head_of(repository)
    return [Side(name, commit_on(repository, base, {name: name}, name)) for name in names]


def leave_lock(repository: Path, ref: str, content: str) -> Path:
    """Of a git that was killed a while ago."""
    lock = repository / ".git" / f"{ref}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(f"{content}\n" if content else "")
    os.utime(lock, (time.time() - 60, time.time() - 60))
    return lock


def test_a_run_lands_on_its_branch_and_its_ref(repository: Path) -> None:
    landed = land(repository, RUN, head_of(repository), leaves(repository, "a", "b"))

    assert landed.branch == f"branchwork/{RUN}"
    assert refs_of(repository) == {f"refs/branchwork/{RUN}/result": landed.commit}
    assert head_of(repository, f"refs/heads/{landed.branch}") == landed.commit
    assert files_of(repository, landed.commit).keys() == {"README", "a", "b"}
    message = run_git(repository, "log", "-1", "--format=%B", landed.commit).strip()
    assert message == f"branchwork: {RUN}\n\nSteps: a, b"


def test_landing_twice_is_landing_once(repository: Path) -> None:
    sides = leaves(repository, "a", "b")

    first = land(repository, RUN, head_of(repository), sides)
    second = land(repository, RUN, head_of(repository), sides)

    assert first == second


def test_a_landing_that_was_cut_short_is_completed(repository: Path) -> None:
    sides = leaves(repository, "a", "b")
    landed = land(repository, RUN, head_of(repository), sides)
    run_git(repository, "update-ref", "-d", f"refs/branchwork/{RUN}/result")

    assert land(repository, RUN, head_of(repository), sides) == landed
    assert refs_of(repository) == {f"refs/branchwork/{RUN}/result": landed.commit}


@pytest.mark.parametrize("killed", ["at the second lock", "after the first ref"])
def test_locks_that_a_killed_landing_left_are_removed(repository: Path, killed: str) -> None:
    sides = leaves(repository, "a")
    commit = land(repository, RUN, head_of(repository), sides).commit
    run_git(repository, "branch", "--quiet", "-D", f"branchwork/{RUN}")
    if killed == "at the second lock":
        run_git(repository, "update-ref", "-d", f"refs/branchwork/{RUN}/result")
        leave_lock(repository, f"refs/branchwork/{RUN}/result", commit)
        leave_lock(repository, f"refs/heads/branchwork/{RUN}", "")
    else:
        leave_lock(repository, f"refs/heads/branchwork/{RUN}", commit)

    landed = land(repository, RUN, head_of(repository), sides)

    assert head_of(repository, landed.branch) == landed.commit == commit
    assert list(repository.glob(".git/**/*.lock")) == []


@pytest.mark.parametrize("content", ["", "0" * 40])
def test_a_lock_of_the_users_on_the_branch_is_not_removed(repository: Path, content: str) -> None:
    lock = leave_lock(repository, f"refs/heads/branchwork/{RUN}", content)

    with pytest.raises(GitError, match=lock.name) as caught:
        land(repository, RUN, head_of(repository), leaves(repository, "a"))

    assert (caught.value.name, caught.value.transient) == ("Locked", True)
    assert lock.exists()


def test_a_result_that_is_gone_is_told_by_its_step(repository: Path) -> None:
    gone = [Side("a", "1" * 40), *leaves(repository, "b")]

    with pytest.raises(GitError, match=f"'a' made.*refs/branchwork/{RUN}/steps/a") as caught:
        land(repository, RUN, head_of(repository), gone)

    assert (caught.value.name, caught.value.transient) == ("ResultGone", False)


def test_a_run_without_work_lands_at_its_base(repository: Path) -> None:
    assert land(repository, RUN, head_of(repository), []).commit == head_of(repository)


def test_a_branch_that_holds_something_else_is_left_alone(repository: Path) -> None:
    base = head_of(repository)
    run_git(repository, "branch", f"branchwork/{RUN}", base)

    with pytest.raises(GitError, match=f"'branchwork/{RUN}' cannot be made.*git branch") as caught:
        land(repository, RUN, base, leaves(repository, "a"))

    assert (caught.value.name, caught.value.transient) == ("BranchTaken", False)
    assert head_of(repository, f"branchwork/{RUN}") == base
    assert refs_of(repository) == {}


def test_a_branch_whose_name_is_a_folder_of_ours_is_named(repository: Path) -> None:
    run_git(repository, "branch", "branchwork")

    with pytest.raises(GitError, match="rename what is in the way") as caught:
        land(repository, RUN, head_of(repository), leaves(repository, "a"))

    assert caught.value.name == "BranchTaken"


def test_a_conflict_lands_nothing(repository: Path) -> None:
    base = head_of(repository)
    sides = [Side(name, commit_on(repository, base, {"README": name}, name)) for name in "ab"]

    with pytest.raises(MergeConflict):
        land(repository, RUN, base, sides)

    assert refs_of(repository) == {}
    assert run_git(repository, "branch", "--list", "branchwork/*") == ""


def test_landing_leaves_the_users_checkout_alone(repository: Path) -> None:
    sides = leaves(repository, "a", "b")
    (repository / "README").write_text("dirty\n")
    branch, status, index, _, stash = state_of(repository)

    land(repository, RUN, head_of(repository), sides)

    assert state_of(repository)[:3] == (branch, status, index)
    assert state_of(repository)[4] == stash


def test_a_bare_repository_gets_its_branch_too(repository: Path, tmp_path: Path) -> None:
    sides = leaves(repository, "a", "b")
    for number, side in enumerate(sides):
        run_git(repository, "branch", f"keep{number}", side.commit)
    run_git(tmp_path, "clone", "--quiet", "--bare", str(repository), "bare.git")
    bare = tmp_path / "bare.git"

    landed = land(bare, RUN, head_of(repository), sides)

    assert head_of(bare, f"branchwork/{RUN}") == landed.commit
