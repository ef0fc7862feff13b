import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from activities.git import GitError
from activities.trash import empty_trash
from activities.worktrees import add_worktree, remove_worktree
from repositories import (
    commit_on,
    head_of,
    make_repository,
    run_git,
    state_of,
    worktrees_of,
    write_files,
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    files = {f"d{number % 5}/f{number}": f"{number}\n" * 50 for number in range(40)}
    return make_repository(tmp_path / "a repository ü", files)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "worktrees" / "run-1" / "step ü"


@pytest.fixture
def trash(tmp_path: Path) -> Path:
    return tmp_path / "state" / "trash"


def is_clean_at(path: Path, commit: str) -> bool:
    return head_of(path) == commit and run_git(path, "status", "--porcelain") == ""


def only_entry(repository: Path) -> Path:
    """Git's own folder of the one worktree that there is."""
    (entry,) = (repository / ".git/worktrees").iterdir()
    return entry


def test_a_worktree_holds_the_commit_on_no_branch(repository: Path, path: Path) -> None:
    commit = commit_on(repository, "HEAD", {"new": "new\n"})

    add_worktree(repository, path, commit)

    assert is_clean_at(path, commit)
    assert (path / "new").read_text() == "new\n"
    assert run_git(path, "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"


def test_adding_twice_is_adding_once(repository: Path, path: Path) -> None:
    add_worktree(repository, path, head_of(repository))
    before = (path / ".git").stat()

    add_worktree(repository, path, head_of(repository))

    assert (path / ".git").stat() == before
    assert worktrees_of(repository) == [path]


def test_an_unknown_commit_is_named_and_leaves_nothing(repository: Path, path: Path) -> None:
    with pytest.raises(GitError, match="does not hold that commit") as caught:
        add_worktree(repository, path, "1" * 40)

    assert caught.value.name == "UnknownRevision"
    assert worktrees_of(repository) == []
    assert not path.exists()


@pytest.mark.parametrize("change", ["edited", "untracked", "committed", "elsewhere"])
def test_a_worktree_that_holds_work_is_not_made_anew(
    repository: Path, path: Path, change: str
) -> None:
    add_worktree(repository, path, head_of(repository))
    wanted = head_of(repository)
    if change == "elsewhere":
        wanted = commit_on(repository, "HEAD", {"new": "new"})
    elif change == "untracked":
        write_files(path, {"new": "new"})
    else:
        write_files(path, {"d1/f1": "edited"})
    if change == "committed":
        run_git(path, "commit", "--quiet", "--all", "--message", "work")
    before = run_git(path, "status", "--porcelain"), head_of(path)

    with pytest.raises(GitError, match="keep its work, then remove it") as caught:
        add_worktree(repository, path, wanted)

    assert (caught.value.name, caught.value.transient) == ("WorktreeInUse", False)
    assert (run_git(path, "status", "--porcelain"), head_of(path)) == before


def test_a_folder_of_someone_else_is_neither_used_nor_removed(
    repository: Path, path: Path, trash: Path
) -> None:
    write_files(path, {"thesis.txt": "years of work"})

    with pytest.raises(GitError, match="move it elsewhere"):
        add_worktree(repository, path, head_of(repository))
    with pytest.raises(GitError, match="move it elsewhere") as caught:
        remove_worktree(repository, path, trash)

    assert caught.value.name == "WorktreeInUse"
    assert (path / "thesis.txt").read_text() == "years of work"


def test_the_worktree_of_another_repository_is_not_ours(
    repository: Path, path: Path, trash: Path, tmp_path: Path
) -> None:
    other = make_repository(tmp_path / "other")
    add_worktree(other, path, head_of(other))

    with pytest.raises(GitError):
        add_worktree(repository, path, head_of(repository))
    with pytest.raises(GitError):
        remove_worktree(repository, path, trash)

    assert worktrees_of(other) == [path]


def test_a_symlink_in_the_way_is_not_followed(repository: Path, path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(GitError):
        add_worktree(repository, path, head_of(repository))

    assert list((tmp_path / "elsewhere").iterdir()) == []


def half_made(repository: Path, path: Path, state: str) -> None:
    """As a kill of `worktree add`, or of the checkout after it, leaves them."""
    if state == "empty folder":
        path.mkdir(parents=True)
        return
    run_git(repository, "worktree", "add", "--detach", "--no-checkout", str(path))
    entry = only_entry(repository)
    if state.startswith("initializing"):
        (entry / "locked").write_text("initializing")
    if state.endswith("folder without .git"):
        (path / ".git").unlink()
    if state.endswith("no folder"):
        (path / ".git").unlink()
        path.rmdir()
    if state.endswith("no HEAD"):
        (entry / "HEAD").unlink()
    if state == "checkout":
        (entry / "index.lock").write_text("half")
        write_files(path, {"d1/f1": "ha", "d2/f2": "2\n"})


@pytest.mark.parametrize(
    "state",
    [
        "empty folder",
        "initializing",
        "initializing, folder without .git",
        "initializing, no folder",
        "no folder",
        "checkout",
    ],
)
def test_what_a_killed_try_left_half_made_is_made_anew(
    repository: Path, path: Path, state: str
) -> None:
    half_made(repository, path, state)

    add_worktree(repository, path, head_of(repository))

    assert is_clean_at(path, head_of(repository))
    assert worktrees_of(repository) == [path]
    assert sorted(path.parent.iterdir()) == [path]
    assert not (only_entry(repository) / "locked").exists()


@pytest.mark.parametrize(
    "state", ["empty folder", "initializing, folder without .git", "initializing", "checkout"]
)
def test_what_a_killed_try_left_half_made_is_removed(
    repository: Path, path: Path, trash: Path, state: str
) -> None:
    half_made(repository, path, state)

    remove_worktree(repository, path, trash)

    assert not path.exists()
    assert worktrees_of(repository) == []


def test_an_entry_that_was_cut_short_does_not_stop_every_other_worktree(
    repository: Path, path: Path, tmp_path: Path
) -> None:
    broken = repository / ".git/worktrees/broken"
    write_files(
        broken, {"locked": "initializing", "gitdir": f"{tmp_path}/broken/.git\n", "commondir": ""}
    )
    os.utime(broken, (time.time() - 60, time.time() - 60))

    add_worktree(repository, path, head_of(repository))

    assert is_clean_at(path, head_of(repository))
    assert not broken.exists()


def test_an_entry_that_someone_is_just_making_is_left_and_tried_again_later(
    repository: Path, path: Path, tmp_path: Path
) -> None:
    young = repository / ".git/worktrees/young"
    write_files(
        young, {"locked": "initializing", "gitdir": f"{tmp_path}/young/.git\n", "commondir": ""}
    )

    with pytest.raises(GitError) as caught:
        add_worktree(repository, path, head_of(repository))

    assert (caught.value.name, caught.value.transient) == ("Locked", True)
    assert young.exists()


@pytest.mark.parametrize("milliseconds", [1, 3, 5, 8, 11, 15, 20, 40])
def test_a_worktree_is_made_whole_after_a_kill_at_any_time(
    repository: Path, path: Path, milliseconds: int
) -> None:
    path.parent.mkdir(parents=True)
    adding = subprocess.Popen(
        ["git", "worktree", "add", "--detach", str(path)],
        cwd=repository,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(milliseconds / 1000)
    os.killpg(adding.pid, signal.SIGKILL)
    adding.wait()

    add_worktree(repository, path, head_of(repository))

    assert is_clean_at(path, head_of(repository))
    assert worktrees_of(repository) == [path]


@pytest.mark.parametrize("milliseconds", [0, 4, 8, 12, 16, 24, 32])
def test_a_killed_worker_leaves_nothing_that_the_next_one_cannot_finish(
    repository: Path, path: Path, trash: Path, milliseconds: int
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from activities.worktrees import add_worktree, remove_worktree\n"
        "repository, path, trash = map(Path, sys.argv[1:4]); print('ready', flush=True)\n"
        "while True:\n"
        "    add_worktree(repository, path, sys.argv[4])\n"
        "    remove_worktree(repository, path, trash)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, repository, path, trash, head_of(repository)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
    )
    with worker:
        assert worker.stdout
        worker.stdout.readline()
        time.sleep(milliseconds / 1000)
        worker.kill()

    add_worktree(repository, path, head_of(repository))
    assert is_clean_at(path, head_of(repository))
    remove_worktree(repository, path, trash)
    empty_trash(trash)

    assert worktrees_of(repository) == []
    assert list(trash.iterdir()) == list(path.parent.iterdir()) == []


def test_sixteen_threads_add_and_remove_worktrees_of_one_repository(
    repository: Path, tmp_path: Path, trash: Path
) -> None:
    commit = head_of(repository)
    me = psutil.Process()
    before = me.num_fds()

    def come_and_go(number: int) -> None:
        for turn in range(3):
            path = tmp_path / "state/worktrees" / f"run-{turn}" / f"step-{number}"
            add_worktree(repository, path, commit)
            assert is_clean_at(path, commit)
            remove_worktree(repository, path, trash)
            empty_trash(trash)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(come_and_go, range(16)))

    assert worktrees_of(repository) == []
    assert not (repository / ".git/worktrees").exists()
    assert list(trash.iterdir()) == []
    assert me.num_fds() == before
    assert not [child for child in me.children() if child.name() == "git"]
    run_git(repository, "fsck", "--strict")


def test_removing_takes_the_files_and_gits_entry(repository: Path, path: Path, trash: Path) -> None:
    add_worktree(repository, path, head_of(repository))
    write_files(path, {"untracked": "x"})

    remove_worktree(repository, path, trash)

    assert not path.exists()
    assert worktrees_of(repository) == []
    assert [folder.name.startswith("run-1-step ü-") for folder in trash.iterdir()] == [True]


def test_removing_what_is_gone_does_nothing(repository: Path, path: Path, trash: Path) -> None:
    remove_worktree(repository, path, trash)
    add_worktree(repository, path, head_of(repository))
    remove_worktree(repository, path, trash)
    remove_worktree(repository, path, trash)

    assert worktrees_of(repository) == []


def test_a_removal_that_was_cut_short_is_completed(
    repository: Path, path: Path, trash: Path
) -> None:
    add_worktree(repository, path, head_of(repository))
    trash.mkdir(parents=True)
    path.rename(trash / "moved")

    remove_worktree(repository, path, trash)

    assert worktrees_of(repository) == []


def test_an_entry_whose_removal_was_cut_short_goes_with_the_next_one(
    repository: Path, path: Path, trash: Path
) -> None:
    add_worktree(repository, path, head_of(repository))
    half = only_entry(repository).with_name("half")
    write_files(half, {"index.lock": ""})
    os.utime(half, (time.time() - 60, time.time() - 60))

    remove_worktree(repository, path, trash)

    assert not half.exists()


def test_worktrees_and_dirty_files_of_the_user_are_left_alone(
    repository: Path, path: Path, trash: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    unmounted = tmp_path / "unmounted"
    for place in (mine, unmounted):
        run_git(repository, "worktree", "add", "--quiet", "-b", place.name, str(place))
    unmounted.rename(tmp_path / "drive")
    write_files(mine, {"d1/f1": "dirty", "new": "new"})
    write_files(repository, {"d2/f2": "dirty", "new": "new"})
    run_git(repository, "add", "new")
    before = state_of(repository), state_of(mine)

    add_worktree(repository, path, head_of(repository))
    remove_worktree(repository, path, trash)
    empty_trash(trash)

    assert (state_of(repository), state_of(mine)) == before
    assert worktrees_of(repository) == [mine, unmounted]


def test_a_worktree_whose_git_file_the_agent_replaced_is_still_found(
    repository: Path, path: Path, trash: Path
) -> None:
    add_worktree(repository, path, head_of(repository))
    (path / ".git").unlink()
    run_git(path, "init", "--quiet")

    remove_worktree(repository, path, trash)

    assert not path.exists()
    assert worktrees_of(repository) == []


def test_worktrees_that_an_agent_made_inside_go_with_its_own(
    repository: Path, path: Path, trash: Path
) -> None:
    add_worktree(repository, path, head_of(repository))
    run_git(path, "worktree", "add", "--quiet", "--detach", "inner")

    remove_worktree(repository, path, trash)

    assert worktrees_of(repository) == []


def test_a_trash_that_cannot_be_renamed_into_is_done_without(repository: Path, path: Path) -> None:
    add_worktree(repository, path, head_of(repository))

    # Nothing can be renamed into a folder of this file system, as if it were another disk.
    remove_worktree(repository, path, Path("/proc/self"))

    assert list(path.parent.iterdir()) == []
    assert worktrees_of(repository) == []


def test_the_trash_is_emptied_of_whatever_it_holds(trash: Path, tmp_path: Path) -> None:
    write_files(trash / "one", {"closed/inner/file": "x", "open/file": "x"})
    (trash / "one/closed/inner").chmod(0o500)
    (trash / "one/closed").chmod(0)
    (tmp_path / "precious").mkdir()
    (trash / "one/link").symlink_to(tmp_path / "precious")
    (trash / "link").symlink_to(tmp_path / "precious")
    (trash / "file").touch()

    empty_trash(trash)

    assert list(trash.iterdir()) == []
    assert (tmp_path / "precious").exists()


def test_a_trash_that_is_not_there_is_empty(trash: Path) -> None:
    empty_trash(trash)

    assert not trash.exists()


def test_several_empty_one_trash_at_once(trash: Path) -> None:
    for number in range(20):
        write_files(trash / f"t{number}", {f"a/b/f{other}": "x" for other in range(10)})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(empty_trash, [trash] * 4))

    assert list(trash.iterdir()) == []


def test_a_bare_repository_has_worktrees_too(
    repository: Path, path: Path, trash: Path, tmp_path: Path
) -> None:
    run_git(tmp_path, "clone", "--quiet", "--bare", str(repository), "bare.git")
    bare = tmp_path / "bare.git"

    add_worktree(bare, path, head_of(bare))
    assert is_clean_at(path, head_of(bare))
    remove_worktree(bare, path, trash)

    assert run_git(bare, "worktree", "list").endswith("(bare)")


def test_a_worktree_of_the_users_serves_as_the_repository(
    repository: Path, path: Path, trash: Path, tmp_path: Path
) -> None:
    linked = tmp_path / "linked"
    run_git(repository, "worktree", "add", "--quiet", "--detach", str(linked))

    add_worktree(linked, path, head_of(linked))
    assert worktrees_of(repository) == [linked, path]
    remove_worktree(linked, path, trash)

    assert worktrees_of(repository) == [linked]


def test_checkout_hooks_of_the_repository_do_not_run(repository: Path, path: Path) -> None:
    hook = repository / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hook-ran\n")
    hook.chmod(0o755)

    add_worktree(repository, path, head_of(repository))

    assert not (path / "hook-ran").exists()
