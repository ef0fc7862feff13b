import os
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from activities.git import GitError
from activities.keeping import Kept, PathVerdict, judge_paths, keep_work
from activities.revisions import is_ancestor
from activities.worktrees import add_worktree, remove_worktree
from repositories import (
    commit_all,
    commit_on,
    content_of,
    files_of,
    head_of,
    make_repository,
    parents_of,
    refs_of,
    run_git,
    state_of,
    write_files,
)

WHEN = datetime(2025, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    files = {
        "README": "start\n",
        "src/a.py": "a = 1\n",
        "src/b.py": "b = 1\n",
        ".gitignore": "*.log\nbuild/\n__pycache__/\n",
    }
    return make_repository(tmp_path / "a repository ü", files)


@pytest.fixture
def worktree(repository: Path, tmp_path: Path) -> Path:
    path = tmp_path / "worktrees" / "run" / "step"
    add_worktree(repository, path, head_of(repository))
    return path


def keep(repository: Path, worktree: Path, creates: Sequence[str] = ()) -> Kept:
    return keep_work(
        repository,
        worktree,
        head_of(repository),
        message="step: refactor\n",
        author="claude-code",
        when=WHEN,
        creates=creates,
    )


def test_a_worktree_without_changes_is_its_base(repository: Path, worktree: Path) -> None:
    (worktree / "src/a.py").touch()
    write_files(worktree, {"trace.log": "ignored"})

    assert keep(repository, worktree) == Kept(head_of(repository))


def test_everything_that_changed_is_one_commit_on_the_base(
    repository: Path, worktree: Path
) -> None:
    write_files(worktree, {"README": "new\n", "src/b.py": None, "src/new/c.py": "c\n"})
    (worktree / "src/a.py").chmod(0o755)
    (worktree / "link").symlink_to("README")

    kept = keep(repository, worktree)

    assert kept.changed == ("README", "link", "src/a.py", "src/b.py", "src/new/c.py")
    assert parents_of(repository, kept.commit) == [head_of(repository)]
    assert files_of(repository, kept.commit) == {
        ".gitignore": "*.log\nbuild/\n__pycache__/",
        "README": "new",
        "link": "README",
        "src/a.py": "a = 1",
        "src/new/c.py": "c",
    }
    assert run_git(repository, "ls-tree", kept.commit, "src/a.py").startswith("100755")


def test_the_agent_is_the_author_and_branchwork_the_committer(
    repository: Path, worktree: Path
) -> None:
    write_files(worktree, {"new": "new"})

    commit = keep(repository, worktree).commit

    assert run_git(repository, "log", "-1", "--format=%an <%ae> %cn <%ce> %ct%n%B", commit) == (
        "claude-code <branchwork@localhost> Branchwork <branchwork@localhost>"
        f" {int(WHEN.timestamp())}\nstep: refactor\n"
    )


@pytest.mark.parametrize("author", ["a <b>\n", "<>", "  ", "..."])
def test_an_odd_name_of_an_agent_still_makes_a_commit(
    repository: Path, worktree: Path, author: str
) -> None:
    write_files(worktree, {"new": "new"})
    base = head_of(repository)

    kept = keep_work(repository, worktree, base, message="m", author=author, when=WHEN)

    assert kept.changed == ("new",)


def test_keeping_twice_is_keeping_once(repository: Path, worktree: Path) -> None:
    write_files(worktree, {"new": "new", "README": "changed\n"})

    assert keep(repository, worktree) == keep(repository, worktree)


def test_work_that_went_on_is_kept_again(repository: Path, worktree: Path) -> None:
    write_files(worktree, {"one": "1"})
    keep(repository, worktree)
    write_files(worktree, {"two": "2"})

    kept = keep(repository, worktree)

    assert kept.changed == ("one", "two")
    assert parents_of(repository, kept.commit) == [head_of(repository)]


def test_the_users_checkout_and_refs_are_as_before(repository: Path, worktree: Path) -> None:
    write_files(repository, {"README": "dirty\n", "mine": "mine"})
    run_git(repository, "add", "mine")
    before = state_of(repository)
    write_files(worktree, {"README": "new\n", "new": "new"})

    keep(repository, worktree)

    assert state_of(repository) == before
    assert refs_of(repository) == {}


def test_hooks_and_signing_of_the_repository_do_not_hold_up_the_commit(
    repository: Path, worktree: Path
) -> None:
    for name in ("pre-commit", "commit-msg", "prepare-commit-msg", "post-index-change"):
        hook = repository / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    run_git(repository, "config", "commit.gpgSign", "true")
    run_git(repository, "config", "gpg.program", "/bin/false")
    run_git(repository, "config", "core.safecrlf", "true")
    run_git(repository, "config", "core.autocrlf", "input")
    write_files(worktree, {"new": "a\nb\r\n"})

    assert keep(repository, worktree).changed == ("new",)


def test_odd_names_are_kept(repository: Path, worktree: Path) -> None:
    names = ["-n", ":(top)x", 'qu"ote', "new\nline", "späce ☃", "*", "a\\b", " lead", "tab\t"]
    write_files(worktree, dict.fromkeys(names, "x"))

    kept = keep(repository, worktree)

    assert kept.changed == tuple(sorted(names))
    assert set(names) < set(files_of(repository, kept.commit))


def test_a_name_that_is_no_text_is_kept_and_told_readably(repository: Path, worktree: Path) -> None:
    Path(os.fsdecode(bytes(worktree) + b"/x\xe9")).write_text("x")

    kept = keep(repository, worktree)

    assert kept.changed == ("x\\xe9",)
    assert run_git(repository, "ls-tree", "--name-only", kept.commit).startswith(
        ".gitignore\nREADME"
    )
    assert '"x\\351"' in run_git(repository, "ls-tree", "--name-only", kept.commit).split("\n")


def test_many_changes_are_kept_and_told_in_part(repository: Path, worktree: Path) -> None:
    write_files(worktree, {f"f{number:04}": "x" for number in range(1234)})

    kept = keep(repository, worktree)

    assert len(kept.changed) == 201
    assert kept.changed[-2:] == ("f0199", "… and 1034 more")
    assert run_git(repository, "diff", "--shortstat", "HEAD", kept.commit).startswith(" 1234 files")


def test_a_file_becomes_a_folder_and_a_folder_a_file(repository: Path, worktree: Path) -> None:
    write_files(worktree, {"README": None, "src/a.py": None, "src/b.py": None})
    (worktree / "src").rmdir()
    write_files(worktree, {"README/a": "a", "src": "src"})

    kept = keep(repository, worktree)

    assert kept.changed == ("README", "README/a", "src", "src/a.py", "src/b.py")
    assert files_of(repository, kept.commit).keys() == {".gitignore", "README/a", "src"}


def test_what_the_agent_staged_is_kept_and_what_it_untracked_stays_so(
    repository: Path, worktree: Path
) -> None:
    write_files(worktree, {"staged": "one", ".gitignore": "README\n"})
    run_git(worktree, "add", "staged")
    run_git(worktree, "rm", "--quiet", "--cached", "README")
    write_files(worktree, {"staged": "two"})

    kept = keep(repository, worktree)

    assert kept.changed == (".gitignore", "README", "staged")
    assert content_of(repository, kept.commit, "staged") == "two"


def test_what_the_agent_staged_and_took_back_is_no_change(repository: Path, worktree: Path) -> None:
    write_files(worktree, {"README": "other\n"})
    run_git(worktree, "add", "README")
    write_files(worktree, {"README": "start\n"})

    assert keep(repository, worktree) == Kept(head_of(repository))


def test_commits_of_the_agent_are_the_result(repository: Path, worktree: Path) -> None:
    write_files(worktree, {"one": "1"})
    own = commit_all(worktree, "agent's own")

    assert keep(repository, worktree) == Kept(own, ("one",))


def test_what_the_agent_did_not_commit_comes_on_top_of_its_commits(
    repository: Path, worktree: Path
) -> None:
    write_files(worktree, {"one": "1"})
    run_git(worktree, "switch", "--quiet", "--create", "feature")
    own = commit_all(worktree, "agent's own")
    write_files(worktree, {"two": "2"})

    kept = keep(repository, worktree)

    assert parents_of(repository, kept.commit) == [own]
    assert kept.changed == ("one", "two")
    assert head_of(repository, "feature") == own


def test_commits_that_undo_each_other_are_kept_and_change_nothing(
    repository: Path, worktree: Path
) -> None:
    write_files(worktree, {"one": "1"})
    commit_all(worktree, "do")
    write_files(worktree, {"one": None})
    own = commit_all(worktree, "undo")

    assert keep(repository, worktree) == Kept(own)


def test_an_agent_that_went_back_behind_the_base_is_kept_on_the_base(
    repository: Path, tmp_path: Path
) -> None:
    first = head_of(repository)
    write_files(repository, {"later": "later"})
    base = commit_all(repository, "later")
    path = tmp_path / "worktrees/run/step"
    add_worktree(repository, path, base)
    run_git(path, "reset", "--quiet", "--hard", first)
    write_files(path, {"new": "new"})

    kept = keep(repository, path)

    assert parents_of(repository, kept.commit) == [base]
    assert kept.changed == ("later", "new")
    assert kept.left == ()


def test_commits_beside_the_base_are_named_so_that_they_can_be_kept(
    repository: Path, worktree: Path
) -> None:
    run_git(worktree, "checkout", "--quiet", "--orphan", "fresh")
    write_files(worktree, {"new": "new"})
    own = commit_all(worktree, "unrelated")

    kept = keep(repository, worktree)

    assert kept.left == (own,)
    assert kept.changed == ("new",)
    assert parents_of(repository, kept.commit) == [head_of(repository)]


def test_a_branch_without_commits_is_kept_on_the_base(repository: Path, worktree: Path) -> None:
    run_git(worktree, "switch", "--quiet", "--orphan", "fresh")
    write_files(worktree, {"only": "only"})

    kept = keep(repository, worktree)

    assert files_of(repository, kept.commit) == {"only": "only"}
    assert is_ancestor(repository, head_of(repository), kept.commit)


def test_a_merge_that_the_agent_left_unfinished_is_kept_with_its_conflict(
    repository: Path, worktree: Path
) -> None:
    theirs = commit_on(repository, "HEAD", {"README": "theirs\n", "src/b.py": None})
    write_files(worktree, {"README": "ours\n", "src/b.py": "changed\n"})
    commit_all(worktree, "ours")
    with pytest.raises(subprocess.CalledProcessError):
        run_git(worktree, "merge", "--quiet", theirs)

    kept = keep(repository, worktree)

    assert "<<<<<<<" in content_of(repository, kept.commit, "README")
    assert kept.changed == ("README", "src/b.py")


def test_a_rebase_that_the_agent_left_unfinished_is_kept(repository: Path, worktree: Path) -> None:
    onto = commit_on(repository, "HEAD", {"README": "theirs\n"})
    write_files(worktree, {"README": "ours\n"})
    commit_all(worktree, "ours")
    with pytest.raises(subprocess.CalledProcessError):
        run_git(worktree, "rebase", "--quiet", onto)

    kept = keep(repository, worktree)

    assert is_ancestor(repository, onto, kept.commit)
    assert kept.changed == ("README",)


def test_the_lock_of_a_killed_agent_does_not_hold_up_its_work(
    repository: Path, worktree: Path
) -> None:
    entry = Path(run_git(worktree, "rev-parse", "--absolute-git-dir"))
    (entry / "index.lock").write_text("half")
    write_files(worktree, {"new": "new"})

    assert keep(repository, worktree).changed == ("new",)


def test_an_agent_that_made_its_own_repository_of_the_worktree_loses_nothing(
    repository: Path, worktree: Path
) -> None:
    (worktree / ".git").unlink()
    run_git(worktree, "init", "--quiet")
    write_files(worktree, {"new": "new"})
    commit_all(worktree, "lost otherwise")

    assert keep(repository, worktree).changed == ("new",)


@pytest.mark.parametrize("use", ["none", "commit", "stage", "record"])
def test_the_files_of_a_repository_inside_are_kept(
    repository: Path, worktree: Path, use: str
) -> None:
    inner = worktree / "lib" / "inner"
    write_files(inner, {"x": "x", "deep/y": "y", ".gitignore": "*.o\n", "x.o": "object"})
    run_git(inner, "init", "--quiet")
    write_files(inner / "innermost", {"z": "z"})
    run_git(inner / "innermost", "init", "--quiet")
    if use != "none":
        commit_all(inner / "innermost", "inner")
        commit_all(inner, "inner")
    if use in ("stage", "record"):
        run_git(worktree, "add", "lib/inner")
    if use == "record":
        run_git(worktree, "commit", "--quiet", "--message", "a link that leads nowhere")
    write_files(inner, {"new": "new"})

    kept = keep(repository, worktree)

    assert kept.nested == ("lib/inner",)
    paths = [f"lib/inner/{name}" for name in (".gitignore", "deep/y", "innermost/z", "new", "x")]
    assert kept.changed == tuple(paths)
    assert set(paths) < files_of(repository, kept.commit).keys()


def test_a_declared_submodule_stays_a_submodule(
    repository: Path, worktree: Path, tmp_path: Path
) -> None:
    library = make_repository(tmp_path / "library")
    run_git(
        worktree,
        *("-c", "protocol.file.allow=always"),
        *("submodule", "--quiet", "add", str(library), "vendor/lib"),
    )

    kept = keep(repository, worktree)

    assert kept.nested == ()
    assert kept.changed == (".gitmodules", "vendor/lib")
    assert run_git(repository, "ls-tree", kept.commit, "vendor/lib").startswith("160000")


def test_ignored_files_that_the_step_creates_are_kept_and_no_others(
    repository: Path, worktree: Path
) -> None:
    write_files(
        worktree,
        {
            "report.log": "wanted",
            "other.log": "unwanted",
            "build/out/app": "wanted",
            "src/c.py": "wanted",
            "src/__pycache__/c.pyc": "unwanted",
        },
    )
    (worktree / "build/link").symlink_to("out")

    kept = keep(repository, worktree, ["report.log", "./build/", "src/", "nope", "nope/"])

    assert kept.changed == ("build/link", "build/out/app", "report.log", "src/c.py")
    assert keep(repository, worktree, ["report.log", "./build/", "src/"]) == kept


def test_creates_that_stood_there_before_are_no_change(repository: Path, worktree: Path) -> None:
    assert keep(repository, worktree, ["README", "src/"]) == Kept(head_of(repository))


def test_creates_behind_a_symlink_are_not_fetched_from_there(
    repository: Path, worktree: Path, tmp_path: Path
) -> None:
    write_files(tmp_path / "elsewhere", {"secret": "secret"})
    (worktree / "out").symlink_to(tmp_path / "elsewhere")

    kept = keep(repository, worktree, ["out/secret"])

    assert kept.changed == ("out",)
    assert judge_paths(repository, head_of(repository), kept.commit, ["out/secret", "out"]) == (
        ("out/secret", "out"),
        (),
    )


def test_what_git_cannot_hold_is_named(repository: Path, worktree: Path) -> None:
    (worktree / "README").unlink()
    os.mkfifo(worktree / "README")

    with pytest.raises(GitError, match=r"README.*let the step remove it") as caught:
        keep(repository, worktree)

    assert (caught.value.name, caught.value.transient) == ("UnreadableFile", False)


@pytest.mark.parametrize("closed", ["secret", "folder"])
def test_what_may_not_be_read_is_named(repository: Path, worktree: Path, closed: str) -> None:
    write_files(worktree, {"secret": "x", "folder/file": "x"})
    (worktree / closed).chmod(0)
    if os.access(worktree / closed, os.R_OK):
        pytest.skip("this user may read everything")

    with pytest.raises(GitError, match=f"{closed}.*make it readable") as caught:
        keep(repository, worktree)
    (worktree / closed).chmod(0o700)

    assert caught.value.name == "UnreadableFile"


def test_pipes_and_empty_folders_are_no_work(repository: Path, worktree: Path) -> None:
    (worktree / "empty").mkdir()
    os.mkfifo(worktree / "pipe")

    kept = keep(repository, worktree, ["empty/", "pipe"])

    assert kept == Kept(head_of(repository))
    assert judge_paths(repository, kept.commit, kept.commit, ["empty/", "pipe"]).missing == (
        "empty/",
        "pipe",
    )


def test_a_worktree_that_is_gone_is_named(repository: Path, worktree: Path, tmp_path: Path) -> None:
    remove_worktree(repository, worktree, tmp_path / "trash")

    with pytest.raises(GitError, match="someone removed it") as caught:
        keep(repository, worktree)

    assert (caught.value.name, caught.value.transient) == ("WorktreeLost", False)


def test_keeping_leaves_no_process_and_no_descriptor(repository: Path, worktree: Path) -> None:
    keep(repository, worktree)
    me = psutil.Process()
    before = me.num_fds()
    write_files(worktree, {"new": "new"})

    keep(repository, worktree, ["new", "x.log"])

    assert me.num_fds() == before
    assert not [child for child in me.children() if child.name() == "git"]


def test_the_work_of_a_bare_repository_is_kept(repository: Path, tmp_path: Path) -> None:
    run_git(tmp_path, "clone", "--quiet", "--bare", str(repository), "bare.git")
    path = tmp_path / "worktrees/run/step"
    add_worktree(tmp_path / "bare.git", path, head_of(repository))
    write_files(path, {"new": "new"})

    assert keep(tmp_path / "bare.git", path).changed == ("new",)
    run_git(tmp_path / "bare.git", "fsck", "--strict")


def test_paths_are_judged_by_what_the_commit_holds(repository: Path) -> None:
    base = head_of(repository)
    commit = commit_on(
        repository, base, {"README": "new\n", "src/new.py": "new", "docs/x": "x", "src/b.py": None}
    )
    creates = ["README", "src/", "src/new.py", "docs/", "src/a.py", ".gitignore", "src/b.py", "no/"]

    verdict = judge_paths(repository, base, commit, [*creates, "README/", "docs"])

    assert verdict == PathVerdict(("src/b.py", "no/", "README/"), ("src/a.py", ".gitignore"))


def test_a_file_that_became_executable_is_changed(repository: Path, worktree: Path) -> None:
    (worktree / "src/a.py").chmod(0o755)
    kept = keep(repository, worktree)

    verdict = judge_paths(
        repository, head_of(repository), kept.commit, ["./src/a.py", "src/b.py", "src/"]
    )

    assert verdict == PathVerdict((), ("src/b.py",))


def test_a_folder_of_which_something_was_removed_is_changed(repository: Path) -> None:
    base = head_of(repository)
    commit = commit_on(repository, base, {"src/b.py": None})

    assert judge_paths(repository, base, commit, ["src", "src/"]) == PathVerdict((), ())


def test_creates_through_a_symlink_inside_the_repository_count(repository: Path) -> None:
    (repository / "code").symlink_to("src")
    base = commit_all(repository, "link")
    commit = commit_on(repository, base, {"src/a.py": "a = 2\n"})

    verdict = judge_paths(repository, base, commit, ["code/a.py", "code/b.py"])

    assert verdict == PathVerdict((), ("code/b.py",))


def test_nothing_to_create_is_nothing_to_judge(repository: Path) -> None:
    assert judge_paths(repository, "HEAD", "HEAD", []) == PathVerdict((), ())


def test_adding_keeping_and_removing_is_not_far_from_the_bare_commands(
    repository: Path, tmp_path: Path
) -> None:
    base = head_of(repository)

    def ours() -> None:
        path = tmp_path / "worktrees/run/ours"
        add_worktree(repository, path, base)
        write_files(path, {"new": "new"})
        keep(repository, path)
        remove_worktree(repository, path, tmp_path / "trash")

    def bare() -> None:
        path = tmp_path / "bare"
        run_git(repository, "worktree", "add", "--quiet", "--detach", str(path))
        write_files(path, {"new": "new"})
        commit_all(path, "work")
        run_git(repository, "worktree", "remove", "--force", str(path))

    assert min(_seconds(ours) for _ in range(5)) < 4 * min(_seconds(bare) for _ in range(5))


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
