"""`show`: what is known of a step, and that its commands get at the work."""

import json
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Commands, commands_in
from repositories import content_of, make_repository, refs_of, run_git

PLAN = """\
plan: shown
on_failure: continue
steps:
  - id: twice
    run: echo $BRANCHWORK_ATTEMPT > made; test $BRANCHWORK_ATTEMPT = 2
    retry: {attempts: 2, initial: 1s}
  - {id: idle, run: exit 3}
  - {id: after, needs: [idle], run: 'true'}
"""
SLEEPING = "plan: shown\nsteps:\n  - {id: slow, run: 'echo half > half; sleep 300'}\n"


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    folder = tmp_path_factory.mktemp("show")
    with commands_in(make_repository(folder / "repository"), folder / "state") as commands:
        yield commands


@pytest.fixture(scope="module")
def run(commands: Commands) -> str:
    return str(commands.json("run", commands.plan(PLAN))["run"])


def test_the_last_attempt_is_shown_with_its_ref_and_log(commands: Commands, run: str) -> None:
    shown = commands.json("show", run, "twice")

    assert (shown["outcome"], shown["attempt"], shown["attempts"]) == ("succeeded", 2, 2)
    assert shown["ref"] == f"refs/branchwork/{run}/attempts/twice/2"
    assert refs_of(commands.repository, shown["ref"]) == {shown["ref"]: shown["result"]}
    assert shown["log"].endswith(f"{run}/twice/2/output.log")
    assert shown["refs_beside"] == []


def test_an_earlier_attempt_is_shown_as_it_ended_itself(commands: Commands, run: str) -> None:
    shown = commands.json("show", run, "twice", "--attempt", "1")

    assert shown["outcome"] == "failed"
    assert shown["reason"].startswith("AgentFailed: exit 1")
    assert content_of(commands.repository, shown["ref"], "made") == "1"


def test_the_commands_it_names_get_at_the_work(commands: Commands, run: str) -> None:
    text = commands("show", run, "twice", "--attempt", "1").stdout

    written = [line.strip() for line in text.splitlines() if line.startswith("  git ")]
    diff, branch, checkout = (shlex.split(line)[1:] for line in written)
    assert f"in {commands.repository}:" in text
    assert "+1" in run_git(commands.repository, *diff)
    run_git(commands.repository, *(word.replace("NAME", "mine") for word in branch))
    assert content_of(commands.repository, "mine", "made") == "1"
    run_git(commands.repository, *(word.replace("PATH", "made") for word in checkout))
    assert (commands.repository / "made").read_text() == "1\n"
    run_git(commands.repository, "rm", "--quiet", "--force", "made")


def test_a_step_without_work_says_so(commands: Commands, run: str) -> None:
    idle, after = commands("show", run, "idle").stdout, commands("show", run, "after").stdout

    assert "ref      none: the attempt left no work\n" in idle
    assert "git " not in idle
    assert "outcome  skipped\n" in after
    assert "ref      none: the step has not run\n" in after


def test_a_running_step_is_shown_and_its_kept_work_after_the_cancel(commands: Commands) -> None:
    commands("run", commands.plan(SLEEPING), "--detach", "--id", "shown-slow")
    commands.until_step("shown-slow", "slow", "running")

    running = commands("show", "shown-slow", "slow").stdout
    commands("cancel", "shown-slow")
    cancelled = commands.json("show", "shown-slow", "slow")

    assert "outcome  running\n" in running
    assert "worktree /" in running
    assert "ref      none: the attempt is under way; its work is put on a ref when it" in running
    assert cancelled["outcome"] == "cancelled"
    assert content_of(commands.repository, cancelled["ref"], "half") == "half"


def test_steps_are_shown_also_while_no_worker_is_there_to_tell_of_them(
    commands: Commands, tmp_path: Path
) -> None:
    plan = SLEEPING.replace("sleep 300", f"while ! test -e {tmp_path}/go; do sleep 0.2; done")
    commands("run", commands.plan(plan), "--detach", "--id", "shown-alone")
    commands.until_step("shown-alone", "slow", "running")
    mark = next(Path(commands.environment["XDG_STATE_HOME"]).glob("branchwork/worker/worker.json"))
    os.kill(json.loads(mark.read_text())["pid"], signal.SIGKILL)

    text = commands("show", "shown-alone", "slow").stdout
    (tmp_path / "go").touch()
    commands("up")

    assert "attempt  1 of 1\n" in text
    assert "outcome  running\n" in text
    assert f"{commands.environment['XDG_STATE_HOME']}/branchwork/runs/shown-alone/slow/1" in text
    commands.until_step("shown-alone", "slow", "succeeded")


def test_a_result_that_was_taken_over_is_shown_with_where_it_is_from(
    commands: Commands, run: str
) -> None:
    commands("retry", run, "--id", "shown-again")

    text = commands("show", "shown-again", "twice").stdout

    assert f"attempt  none: taken over from {run}\n" in text
    assert "ref      refs/branchwork/shown-again/steps/twice\n" in text
    assert f"log      see `branchwork show {run} twice`\n" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("twce",), "has no step 'twce'; did you mean 'twice'?; see `branchwork status"),
        (("twice", "--attempt", "3"), "had 2 attempts; see `branchwork show"),
    ],
)
def test_what_is_not_there_is_refused(
    commands: Commands, run: str, arguments: tuple[str, ...], told: str
) -> None:
    done = commands("show", run, *arguments)

    assert done.returncode == 2
    assert told in done.stderr
