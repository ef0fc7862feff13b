"""Real repositories for tests, made and read by the git that a user would call."""

import os
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from activities.git import without_git_variables


def run_git(folder: Path, *arguments: str, text: str | None = None) -> str:
    """What `git <arguments>` prints; CalledProcessError if it fails."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=_environment(),
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.removesuffix("\n")


def _environment() -> dict[str, str]:
    """Nothing of the settings of whoever runs the tests."""
    return {
        **without_git_variables(os.environ),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
    }


def make_repository(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """A repository on branch `main` with one commit of `files`."""
    folder.mkdir(parents=True)
    run_git(folder, "init", "--quiet", "--initial-branch=main")
    write_files(folder, {"README": "start\n"} if files is None else files)
    commit_all(folder, "start")
    return folder


def write_files(folder: Path, files: Mapping[str, str | None]) -> None:
    """None removes the file."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        else:
            path.write_text(content)


def commit_all(folder: Path, message: str) -> str:
    """All that stands in `folder` as a commit on its branch; its id."""
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return head_of(folder)


def head_of(folder: Path, revision: str = "HEAD") -> str:
    return run_git(folder, "rev-parse", "--verify", revision)


def commit_on(
    repository: Path, base: str, files: Mapping[str, str | None], message: str = "work"
) -> str:
    """A commit on `base` that changes `files`, made beside the checkout of `repository`."""
    place = repository.parent / f"{repository.name}.aside"
    run_git(repository, "worktree", "add", "--quiet", "--detach", str(place), base)
    try:
        write_files(place, files)
        return commit_all(place, message)
    finally:
        run_git(repository, "worktree", "remove", "--force", str(place))


def dated_commit(repository: Path, when: datetime, message: str) -> str:
    """A commit on HEAD, made at that time; on no ref."""
    date = f"{int(when.timestamp())} +0000"
    tree, parent = head_of(repository, "HEAD^{tree}"), head_of(repository)
    text = (
        f"tree {tree}\nparent {parent}\nauthor Ada <ada@example.org> {date}\n"
        f"committer Ada <ada@example.org> {date}\n\n{message}\n"
    )
    return run_git(repository, "hash-object", "-t", "commit", "-w", "--stdin", text=text)


def files_of(repository: Path, commit: str) -> dict[str, str]:
    """All files of a commit, with their content."""
    names = run_git(repository, "ls-tree", "-r", "-z", "--name-only", commit).split("\0")[:-1]
    return {name: content_of(repository, commit, name) for name in names}


def content_of(repository: Path, commit: str, path: str) -> str:
    return run_git(repository, "cat-file", "blob", f"{commit}:{path}")


def parents_of(repository: Path, commit: str) -> list[str]:
    return run_git(repository, "log", "-1", "--format=%P", commit).split()


def worktrees_of(repository: Path) -> list[Path]:
    """All but the repository's own."""
    lines = run_git(repository, "worktree", "list", "--porcelain").splitlines()
    found = [Path(line.removeprefix("worktree ")) for line in lines if line.startswith("worktree ")]
    return found[1:]


def refs_of(repository: Path, under: str = "refs/branchwork") -> dict[str, str]:
    listed = run_git(repository, "for-each-ref", "--format=%(refname) %(objectname)", under)
    return dict(line.split(" ") for line in listed.splitlines())


def state_of(repository: Path) -> tuple[str, ...]:
    """What a user would notice: the branch, what differs, the index, the branches."""
    commands = (
        ("symbolic-ref", "HEAD"),
        ("status", "--porcelain", "--untracked-files=all"),
        ("ls-files", "--stage"),
        ("for-each-ref", "refs/heads"),
        ("stash", "list"),
    )
    return tuple(run_git(repository, *command) for command in commands)
