import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import psutil
import pytest

from activities.git import (
    GitError,
    call_git,
    git,
    git_folder,
    repository_lock,
    top_folder,
    without_git_variables,
)
from activities.git_faults import disk_faults_named, fault_of
from activities.revisions import (
    RefChange,
    RefTaken,
    is_ancestor,
    leaving_symlinks,
    missing_paths,
    publish_ref,
    publish_refs,
    resolve_commit,
)
from repositories import (
    commit_all,
    commit_on,
    head_of,
    make_repository,
    refs_of,
    run_git,
    write_files,
)

REF = "refs/branchwork/r/steps/a"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(
        tmp_path / "a repository ü", {"README": "start\n", "src/a.py": "a = 1\n"}
    )


def test_variables_that_choose_a_repository_are_left_out() -> None:
    environ = {"GIT_DIR": "/x", "GIT_INDEX_FILE": "/y", "GIT_CONFIG_COUNT": "1", "HOME": "/h"}

    assert without_git_variables({**environ, "GIT_SSH_COMMAND": "ssh -v"}) == {
        "HOME": "/h",
        "GIT_SSH_COMMAND": "ssh -v",
    }


def test_git_answers_for_the_folder_it_is_asked_about_whatever_the_environment_says(
    repository: Path, tmp_path: Path
) -> None:
    other = make_repository(tmp_path / "other")
    code = (
        "import sys; from pathlib import Path; from activities.git import git;"
        "print(git(Path(sys.argv[1])).rev_parse('HEAD', '--absolute-git-dir'))"
    )
    misled = {
        "GIT_DIR": str(other / ".git"),
        "GIT_INDEX_FILE": str(other / ".git/index"),
        "GIT_OBJECT_DIRECTORY": str(other / ".git/objects"),
    }

    done = subprocess.run(
        [sys.executable, "-c", code, str(repository)],
        env={**os.environ, **misled},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split("\n")[:2] == [head_of(repository), str(repository / ".git")]


def test_a_folder_that_is_gone_is_an_error_and_not_the_current_folder(
    repository: Path, tmp_path: Path
) -> None:
    with chdir(repository), pytest.raises(GitError, match="gone") as caught:
        call_git(tmp_path / "gone", "rev_parse", "HEAD")

    assert caught.value.name == "NotARepository"
    assert not caught.value.transient


def test_hooks_of_the_repository_do_not_run(repository: Path) -> None:
    hook = repository / ".git/hooks/reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)

    publish_ref(repository, REF, head_of(repository), None)

    assert refs_of(repository) == {REF: head_of(repository)}


def test_a_git_that_hangs_is_ended_with_all_it_started(repository: Path) -> None:
    run_git(repository, "config", "alias.hang", "!sleep 61 & sleep 62")

    with pytest.raises(GitError, match=r"within 0\.3 s") as caught:
        call_git(repository, "hang", seconds=0.3)

    assert caught.value.name == "GitTimedOut"
    assert caught.value.transient
    assert not _alive(["sleep 61", "sleep 62"])


def _alive(commands: list[str]) -> list[str]:
    """Those of `commands` that still run a second later; orphans are nobody's children."""
    until = time.monotonic() + 1
    while True:
        running = [
            line
            for process in psutil.process_iter(["cmdline", "status"])
            if process.info["status"] != psutil.STATUS_ZOMBIE
            and (line := " ".join(process.info["cmdline"] or [])) in commands
        ]
        if not running or time.monotonic() > until:
            return running
        time.sleep(0.02)


def test_calls_leave_no_process_and_no_descriptor(repository: Path) -> None:
    me = psutil.Process()
    call_git(repository, "rev_parse", "HEAD")
    before = me.num_fds()

    for _ in range(5):
        call_git(repository, "rev_parse", "HEAD")
        git(repository).rev_parse("HEAD")
        with pytest.raises(GitError):
            call_git(repository, "rev_parse", "--verify", "nothing")
        with repository_lock(repository):
            pass

    assert me.num_fds() == before
    assert not [child for child in me.children() if child.name() == "git"]


@pytest.mark.parametrize(
    ("complaint", "name"),
    [
        ("fatal: not a git repository (or any parent)", "NotARepository"),
        ("fatal: detected dubious ownership in repository at '/r'", "UntrustedRepository"),
        ("fatal: Unable to create '/r/.git/index.lock': File exists.", "Locked"),
        ("fatal: failed to read /r/.git/worktrees/a/commondir: Success", "Locked"),
        ("fatal: cannot lock ref 'refs/x': reference already exists", "RefTaken"),
        ("error: unable to write file x: No space left on device", "DiskFull"),
        ("fatal: sha1 file 'index.lock' write error. Out of diskspace", "DiskFull"),
        ("error: read error while indexing x: Input/output error", "DiskFailed"),
        ("fatal: cannot mkdir: Read-only file system", "ReadOnly"),
        (
            "error: unable to create temporary file: Read-only file system\nfatal: Unable",
            "ReadOnly",
        ),
        (
            "error: insufficient permission for adding an object\nerror: unable to index file 'x'",
            "ReadOnly",
        ),
        (
            'error: open("x"): Permission denied\nfatal: Unable to process path x',
            "UnreadableFile",
        ),
        ("fatal: bad object 0cfbf08886fca9a91cb753ec8734c84fcbe52c9f", "UnknownRevision"),
        ("error: packfile ./p.pack cannot be mapped: not enough", "BrokenRepository"),
        ("fatal: index file smaller than expected", "BrokenRepository"),
        ("usage: git merge-tree <base-tree> <branch1> <branch2>", "GitTooOld"),
        ("fatal: something new", "GitFailed"),
    ],
)
def test_each_fault_has_a_name_and_locks_and_disks_may_get_better(
    complaint: str, name: str
) -> None:
    fault = fault_of("git x in /r", 128, complaint)

    assert (fault.name, fault.transient) == (name, name in ("Locked", "DiskFull", "DiskFailed"))
    assert str(fault).startswith("git x in /r failed")


def test_a_fault_tells_gits_own_words_without_its_hints() -> None:
    fault = fault_of("git x in /r", 1, "hint: do this\nfatal: one\nhint: or that\nfatal: two\n")

    assert str(fault) == "git x in /r failed with exit status 1: fatal: one / fatal: two"


def test_a_full_disk_is_named_where_python_meets_it() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(GitError, match="removing /w failed") as caught,
        disk_faults_named("removing /w"),
    ):
        raise full

    assert caught.value.name == "DiskFull"


def test_top_and_git_folder_of_a_subfolder_a_worktree_and_a_bare_repository(
    repository: Path, tmp_path: Path
) -> None:
    run_git(repository, "worktree", "add", "--quiet", "--detach", "../linked")
    run_git(repository, "clone", "--quiet", "--bare", ".", "../bare.git")

    assert top_folder(repository / "src") == repository
    assert git_folder(repository / "src") == git_folder(repository) == repository / ".git"
    assert top_folder(tmp_path / "linked") == tmp_path / "linked"
    assert git_folder(tmp_path / "linked") == repository / ".git"
    assert top_folder(tmp_path / "bare.git") == tmp_path / "bare.git"
    assert git_folder(tmp_path / "bare.git") == tmp_path / "bare.git"


@pytest.mark.parametrize("ask", [top_folder, git_folder])
def test_a_folder_outside_every_repository_is_refused(
    ask: Callable[[Path], Path], tmp_path: Path
) -> None:
    with pytest.raises(GitError, match=r"name the folder of a git repository") as caught:
        ask(tmp_path)

    assert caught.value.name == "NotARepository"


def test_the_lock_lets_threads_in_one_at_a_time(repository: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def enter(number: int) -> None:
        with repository_lock(repository):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.005)
            inside.remove(number)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1] * 8


def test_a_lock_that_is_not_had_in_time_names_the_repository(repository: Path) -> None:
    with (
        repository_lock(repository),
        pytest.raises(GitError, match=str(repository)) as caught,
        repository_lock(repository, seconds=0.05),
    ):
        pass

    assert (caught.value.name, caught.value.transient) == ("Locked", True)


def test_the_lock_dies_with_its_process_and_leaves_no_file(repository: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from activities.git import repository_lock\n"
        "with repository_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    before = sorted((repository / ".git").iterdir())
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(repository)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"  # noqa: PT018
        with pytest.raises(GitError), repository_lock(repository, seconds=0.05):
            pass
        holder.send_signal(signal.SIGKILL)

    with repository_lock(repository, seconds=5):
        assert sorted((repository / ".git").iterdir()) == before


def test_a_git_that_outlives_its_worker_holds_the_lock_until_it_ends(repository: Path) -> None:
    run_git(repository, "config", "alias.work", "!echo at work >&2; sleep 0.5; touch done")
    code = (
        "import sys; from pathlib import Path\n"
        "from activities.git import git, repository_lock\n"
        "folder = Path(sys.argv[1])\n"
        "with repository_lock(folder) as lock:\n"
        "    working = git(folder, [lock]).work(as_process=True)\n"
        "    print(working.proc.stderr.readline(), flush=True); working.proc.wait()"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(repository)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
    )
    with worker:
        assert worker.stdout
        worker.stdout.readline()
        worker.kill()
    assert not (repository / "done").exists()

    with repository_lock(repository):
        assert (repository / "done").exists()


def test_a_revision_is_resolved_to_its_commit(repository: Path) -> None:
    commit = head_of(repository)
    run_git(repository, "tag", "-a", "v1", "-m", "one")

    assert [resolve_commit(repository, name) for name in ("main", "v1", commit[:9])] == [commit] * 3


def test_an_unknown_revision_names_the_nearest_branch(repository: Path) -> None:
    with pytest.raises(GitError, match="no commit 'maine'; did you mean 'main'") as caught:
        resolve_commit(repository, "maine")

    assert caught.value.name == "UnknownRevision"


@pytest.mark.parametrize("revision", ["--all", "-h", "", "main:README", "main..main"])
def test_what_is_no_revision_is_refused(repository: Path, revision: str) -> None:
    with pytest.raises(GitError, match="no commit") as caught:
        resolve_commit(repository, revision)

    assert caught.value.name == "UnknownRevision"


def test_a_repository_without_commits_says_so(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet")

    with pytest.raises(GitError, match="no commits yet; make the first one"):
        resolve_commit(tmp_path, "HEAD")


def test_missing_paths_are_told_from_files_folders_and_symlinks(repository: Path) -> None:
    (repository / "inside").symlink_to("src")
    (repository / "outside").symlink_to("/etc")
    (repository / "dangling").symlink_to("nothing")
    (repository / "wéird näme").write_text("x")
    commit = commit_all(repository, "links")
    there = ["README", "src", "src/", "./src//a.py", "inside/a.py", "inside/", "wéird näme"]
    absent = ["README/", "README/x", "nope", "dangling", "outside/hosts", "outside/"]

    assert missing_paths(repository, commit, [*there, *absent, *there]) == absent
    assert missing_paths(repository, commit, []) == []


def test_symlinks_that_leave_the_repository_are_found_wherever_they_stand(repository: Path) -> None:
    (repository / "outside").symlink_to("/etc")
    (repository / "src/up").symlink_to("../../elsewhere")
    (repository / "inside").symlink_to("src")
    (repository / "loop").symlink_to("loop")
    commit = commit_all(repository, "links")
    leaving = ["outside", "outside/new.txt", "src/up/x", "inside/up/x"]

    assert leaving_symlinks(repository, commit, [*leaving, "inside/a.py", "loop", "new"]) == leaving


def test_ancestry_includes_the_commit_itself(repository: Path) -> None:
    first = head_of(repository)
    second = commit_on(repository, first, {"b": "b"})

    assert is_ancestor(repository, first, second)
    assert is_ancestor(repository, first, first)
    assert not is_ancestor(repository, second, first)


def test_a_ref_is_published_once_however_often_it_is_asked_for(repository: Path) -> None:
    commit = head_of(repository)

    publish_ref(repository, REF, commit, None)
    publish_ref(repository, REF, commit, None)

    assert refs_of(repository) == {REF: commit}


def test_a_ref_that_holds_another_commit_is_not_overwritten(repository: Path) -> None:
    first = head_of(repository)
    second = commit_on(repository, first, {"b": "b"})
    publish_ref(repository, REF, first, None)

    with pytest.raises(RefTaken, match=f"{REF} .* holds {first}") as caught:
        publish_ref(repository, REF, second, None)

    assert (caught.value.name, caught.value.found) == ("RefTaken", first)
    assert refs_of(repository) == {REF: first}


def test_a_ref_moves_only_from_where_it_is_expected(repository: Path) -> None:
    first = head_of(repository)
    second = commit_on(repository, first, {"b": "b"})
    publish_ref(repository, REF, first, None)

    with pytest.raises(RefTaken):
        publish_ref(repository, REF, second, second[::-1])
    publish_ref(repository, REF, second, first)

    assert refs_of(repository) == {REF: second}


def test_refs_are_published_all_or_none(repository: Path) -> None:
    first = head_of(repository)
    second = commit_on(repository, first, {"b": "b"})
    publish_ref(repository, REF, first, None)
    other = "refs/branchwork/r/steps/b"

    with pytest.raises(RefTaken):
        publish_refs(repository, [RefChange(other, second), RefChange(REF, second)])

    assert refs_of(repository) == {REF: first}


def test_refs_of_which_a_dead_process_set_some_are_completed(repository: Path) -> None:
    commit = head_of(repository)
    other = "refs/branchwork/r/steps/b"
    publish_ref(repository, REF, commit, None)

    publish_refs(repository, [RefChange(REF, commit), RefChange(other, commit)])

    assert refs_of(repository) == {REF: commit, other: commit}


def test_the_lock_of_a_ref_that_a_killed_git_left_is_removed(repository: Path) -> None:
    lock = repository / ".git" / f"{REF}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    os.utime(lock, (time.time() - 60, time.time() - 60))

    publish_ref(repository, REF, head_of(repository), None)

    assert refs_of(repository) == {REF: head_of(repository)}
    assert not lock.exists()


def test_the_lock_of_a_living_git_is_waited_for_by_trying_again(repository: Path) -> None:
    lock = repository / ".git" / f"{REF}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()

    with pytest.raises(GitError, match=r"\.lock") as caught:
        publish_ref(repository, REF, head_of(repository), None)

    assert (caught.value.name, caught.value.transient) == ("Locked", True)
    assert lock.exists()


def test_refs_survive_names_with_odd_files_around(repository: Path) -> None:
    write_files(repository, {"new\nline": "x"})
    commit = commit_all(repository, "odd")

    publish_refs(repository, [RefChange(f"{REF}{number}", commit) for number in range(50)])

    assert len(refs_of(repository)) == 50
