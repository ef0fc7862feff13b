"""Processes of the command line: real ones."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from branchwork.cli.processes import (
    GitRefusedError,
    ProcessMark,
    end,
    is_alive,
    output_of,
    run_git,
    start_detached,
    until,
)
from embedding import nothing_left, program
from repositories import make_repository

DEAF = "trap '' TERM; echo deaf; while :; do sleep 1; done"


@pytest.fixture(autouse=True)
def _ended(tmp_path: Path) -> Iterator[None]:
    with nothing_left(tmp_path):
        yield


def start(folder: Path, script: str) -> ProcessMark:
    return start_detached((str(program(folder, script)),), folder, folder / "log", {"WORD": "hi"})


async def logged(folder: Path, word: str) -> bool:
    return await until(lambda: word in (folder / "log").read_text(), 10)


async def test_output_goes_to_the_log_and_the_last_log_is_kept(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before")

    start(tmp_path, "echo out $WORD; echo err >&2")

    assert await logged(tmp_path, "out hi\nerr\n")
    assert (tmp_path / "log.1").read_text() == "before"


async def test_a_process_that_ends_on_request_ends_in_order(tmp_path: Path) -> None:
    mark = start(tmp_path, "exec sleep 60")

    assert await end(mark, patience_seconds=10)
    assert not is_alive(mark)


async def test_a_process_that_does_not_is_killed(tmp_path: Path) -> None:
    mark = start(tmp_path, DEAF)
    assert await logged(tmp_path, "deaf")

    assert not await end(mark, patience_seconds=0.2)
    assert not is_alive(mark)


async def test_a_later_process_of_the_same_number_is_never_signalled(tmp_path: Path) -> None:
    mark = start(tmp_path, "exec sleep 60")
    earlier = mark.model_copy(update={"started": mark.started - 60})

    assert await end(earlier, patience_seconds=1)
    assert is_alive(mark)


def test_git_answers_for_the_folder_though_a_hook_names_another(tmp_path: Path) -> None:
    wanted, other = (make_repository(tmp_path / name) for name in ("wanted", "other"))
    script = (
        "import pathlib, sys; from branchwork.cli.processes import run_git;"
        "print(run_git(pathlib.Path(sys.argv[1]), 'rev-parse', '--show-toplevel'))"
    )

    answered = subprocess.run(
        [sys.executable, "-c", script, str(wanted)],
        env={**os.environ, "GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert answered.stdout.strip() == str(wanted)


def test_git_refuses_with_its_own_words(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository")

    with pytest.raises(GitRefusedError, match="object name nothing"):
        run_git(repository, "ls-tree", "nothing")


def test_asking_for_the_status_leaves_the_index_alone(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    (repository / "README").touch()
    before = (repository / ".git" / "index").stat().st_mtime_ns

    assert run_git(repository, "status", "--porcelain") == ""
    assert (repository / ".git" / "index").stat().st_mtime_ns == before


def test_the_exit_code_of_a_shown_diff_is_gits(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    script = (
        "import pathlib, sys; from branchwork.cli.processes import show_git;"
        "print('first'); sys.exit(show_git(pathlib.Path(sys.argv[1]), 'log', '--format=%s'))"
    )

    shown = subprocess.run(
        [sys.executable, "-c", script, str(repository)], capture_output=True, text=True, check=False
    )

    assert (shown.returncode, shown.stdout) == (0, "first\nstart\n")


def test_the_worker_is_ours_wherever_the_user_stands(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text("print('another worker')")
    script = "from branchwork.cli.processes import become_worker; become_worker(2, ['a'], {})"

    became = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "TEMPORAL_CONFIG_FILE": str(tmp_path / "missing.toml")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert became.returncode == 2
    assert "missing.toml" in became.stderr
    assert "another worker" not in became.stdout


@pytest.mark.parametrize("script", ["exit 3", "kill -9 $$"])
def test_a_program_that_fails_says_nothing(tmp_path: Path, script: str) -> None:
    assert output_of(str(program(tmp_path, script))) is None


def test_a_missing_program_says_nothing() -> None:
    assert output_of("/no/such/program") is None


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    mark = start(tmp_path, "exec sleep 60")

    os.kill(mark.pid, signal.SIGKILL)
    os.waitid(os.P_PID, mark.pid, os.WEXITED | os.WNOWAIT)

    assert not is_alive(mark)
