"""`retry` and `run --reuse` as a user has them; a ledger outside the repository tells who ran."""

import subprocess
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Commands, commands_in
from repositories import (
    commit_all,
    files_of,
    head_of,
    make_repository,
    refs_of,
    run_git,
)

TEMPORAL = Path(sysconfig.get_path("scripts"), "temporal")
DIAMOND = {"a": "", "b": "a", "c": "a", "d": "b, c"}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    folder = tmp_path_factory.mktemp("again")
    with commands_in(make_repository(folder / "repository"), folder / "state") as commands:
        yield commands


class Ledger:
    """Who ran, written by the steps themselves; what they do besides is said outside the plan."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ledger"
        self._folder = folder

    def let(self, step: str, script: str) -> None:
        """From now on the step does that too."""
        (self._folder / step).write_text(script)

    def plan(self, needs: dict[str, str], then: str = "", **also: str) -> str:
        """Each step leaves a file of its name; `also` are more lines of one."""
        steps = "".join(
            f"  - id: {step}\n    needs: [{need}]\n    creates: [{step}.txt]\n"
            f"{also.get(step, '')}    run: |\n      echo {step} >> {self._file}\n"
            f"      if [ -e {self._folder / step} ]; then . {self._folder / step}; fi\n"
            f"      echo {step} > {step}.txt\n"
            for step, need in needs.items()
        )
        return f"plan: again\non_failure: continue\n{then}steps:\n{steps}"

    @property
    def runs(self) -> dict[str, int]:
        return dict(Counter(self._file.read_text().split()))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def failed_run(commands: Commands, ledger: Ledger) -> str:
    """Of the diamond; `b` failed, so `d` was skipped."""
    ledger.let("b", "exit 1")
    report = commands.json("run", commands.plan(ledger.plan(DIAMOND)))
    assert ledger.runs == {"a": 1, "b": 1, "c": 1}
    return str(report["run"])


def reused_in(report: Any) -> dict[str, str | None]:
    return {step["step"]: step["reused"] for step in report["steps"]}


def test_a_retry_repeats_no_finished_step_and_ends_with_all_their_work(
    commands: Commands, ledger: Ledger
) -> None:
    old = failed_run(commands, ledger)
    ledger.let("b", "")

    done = commands("retry", old)

    new = done.stdout.strip().removeprefix("branchwork/")
    assert done.returncode == 0, done.stderr
    assert ledger.runs == {"a": 1, "b": 2, "c": 1, "d": 1}
    assert set(files_of(commands.repository, f"branchwork/{new}")) == {
        *("README", "a.txt", "b.txt", "c.txt", "d.txt"),
    }
    assert f"taken over from {old}: 2 of 4 steps" in done.stderr
    assert "step 'b' runs again: it failed\n" in done.stderr
    assert "step 'd' runs: it had not run\n" in done.stderr
    assert reused_in(commands.json("status", new)) == {"a": old, "b": None, "c": old, "d": None}
    assert f"succeeded (from {old})" in commands("status", new).stdout


def test_a_retry_of_a_retry_tells_who_made_a_result_and_where_its_log_is(
    commands: Commands, ledger: Ledger
) -> None:
    first = failed_run(commands, ledger)
    second = commands.json("retry", first)["run"]
    ledger.let("b", "")

    third = commands.json("retry", second)
    logs = commands("logs", third["run"], "a")

    assert third["outcome"] == "succeeded"
    assert reused_in(third) == {"a": first, "b": None, "c": first, "d": None}
    assert ledger.runs == {"a": 1, "b": 3, "c": 1, "d": 1}
    assert logs.returncode == 2
    assert f"it was taken over: `branchwork logs {first} a`" in logs.stderr


def test_named_steps_run_again_with_what_depends_on_them(
    commands: Commands, ledger: Ledger
) -> None:
    old = commands.json("run", commands.plan(ledger.plan(DIAMOND)))["run"]

    done = commands("retry", old, "b")

    assert done.returncode == 0, done.stderr
    assert ledger.runs == {"a": 1, "b": 2, "c": 1, "d": 2}
    assert "step 'b' runs again: it was named\nstep 'd' runs again: it needs 'b'" in done.stderr


def test_what_cannot_be_retried_is_refused_with_what_to_do(
    commands: Commands, ledger: Ledger
) -> None:
    plan = commands.plan(ledger.plan({"slow": ""}), "slow.yaml")
    ledger.let("slow", "sleep 300")
    commands("run", plan, "--detach", "--id", "again-under-way")
    over = commands.json("run", commands.plan(ledger.plan({"lexer": ""})))["run"]

    refusals = {
        "under way": commands("retry", "again-under-way"),
        "reused": commands("run", plan, "--reuse", "again-under-way"),
        "no run": commands("retry", "nobody"),
        "no step": commands("retry", over, "lexr"),
        "nothing": commands("retry", over),
    }
    commands("cancel", "again-under-way")

    assert {name: done.returncode for name, done in refusals.items()} == dict.fromkeys(refusals, 2)
    told = {name: done.stderr.splitlines()[-1] for name, done in refusals.items()}
    under_way = (
        "branchwork: run again-under-way is still under way: `branchwork watch again-under-way`,"
        " or end it first: `branchwork cancel again-under-way`"
    )
    assert told == {
        "under way": under_way,
        "reused": under_way,
        "no run": "branchwork: there is no run 'nobody'; see `branchwork list`",
        "no step": f"branchwork: run {over} has no step 'lexr'; did you mean 'lexer'?;"
        f" see `branchwork status {over}`",
        "nothing": f"branchwork: every step of run {over} succeeded, so there is nothing to do"
        f" again; name the steps that shall run again: `branchwork retry {over} STEP`",
    }


def test_a_run_that_was_cancelled_goes_on_with_what_had_ended(
    commands: Commands, ledger: Ledger
) -> None:
    ledger.let("b", "sleep 300")
    run = started(commands, ledger, "again-cancelled")
    commands("cancel", run)
    ledger.let("b", "")

    report = commands.json("retry", run)

    assert report["outcome"] == "succeeded"
    assert ledger.runs == {"a": 1, "b": 2, "c": 1, "d": 1}


def test_a_run_that_was_terminated_in_temporal_keeps_its_finished_steps(
    commands: Commands, ledger: Ledger
) -> None:
    ledger.let("b", "sleep 300")
    run = started(commands, ledger, "again-terminated")
    terminate(commands, run)
    status = commands.json("status", run)
    ledger.let("b", "")

    report = commands.json("retry", run)

    assert [(step["outcome"], step["attempts"]) for step in status["steps"]] == [
        ("succeeded", 1),
        ("cancelled", 1),
        ("succeeded", 1),
        ("skipped", 0),
    ]
    assert status["outcome"] == "cancelled"
    assert status["base"] == head_of(commands.repository)
    assert report["outcome"] == "succeeded"
    assert ledger.runs == {"a": 1, "b": 2, "c": 1, "d": 1}
    assert set(files_of(commands.repository, report["branch"])) >= {"a.txt", "b.txt", "d.txt"}


def started(commands: Commands, ledger: Ledger, run: str) -> str:
    """The diamond; `a` and `c` have ended, `b` goes on."""
    commands("run", commands.plan(ledger.plan(DIAMOND)), "--detach", "--id", run)
    commands.until_step(run, "c", "succeeded")
    commands.until_step(run, "b", "running")
    return run


def terminate(commands: Commands, run: str) -> None:
    address = commands.json("up")["address"]
    subprocess.run(
        [TEMPORAL, "workflow", "terminate", "--workflow-id", run, "--address", address],
        capture_output=True,
        check=True,
        timeout=60,
    )


def test_an_edited_plan_runs_again_what_changed_and_what_depends_on_it(
    commands: Commands, ledger: Ledger
) -> None:
    base = head_of(commands.repository)
    old = commands.json("run", commands.plan(ledger.plan(DIAMOND)))["run"]
    head = commit_all(commands.repository, "later")
    edited = commands.plan(ledger.plan(DIAMOND, c="    prompt: with care\n"), "edited.yaml")

    done = commands("run", edited, "--reuse", old)

    new = done.stdout.strip().removeprefix("branchwork/")
    report = commands.json("status", new)
    assert done.returncode == 0, done.stderr
    assert "step 'c' runs again: its prompt changed\n" in done.stderr
    assert "step 'd' runs again: it needs 'c', which runs\n" in done.stderr
    assert f"starts from {base[:10]} as {old} did; HEAD is {head[:10]}" in done.stderr
    assert report["base"] == base
    assert reused_in(report) == {"a": old, "b": old, "c": None, "d": None}
    assert ledger.runs == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_results_are_not_sought_in_another_repository(
    commands: Commands, ledger: Ledger, tmp_path: Path
) -> None:
    plan = commands.plan(ledger.plan({"a": ""}))
    old = commands.json("run", plan)["run"]
    other = Commands.beside(commands, make_repository(tmp_path / "other"))

    done = other("run", str(commands.repository / plan), "--reuse", old)

    assert done.returncode == 2
    assert f"go there, or say `--repository {commands.repository}`" in done.stderr


def test_a_run_of_a_url_is_retried_and_reused_over_the_remote_and_its_work_can_be_fetched(
    commands: Commands, ledger: Ledger, tmp_path: Path
) -> None:
    run_git(tmp_path, "clone", "--quiet", "--bare", str(commands.repository), "shared.git")
    shared = tmp_path / "shared.git"
    url = f"file://{shared}"
    ledger.let("b", "echo half > half; exit 1")
    plan = commands.plan(ledger.plan(DIAMOND))
    failed = commands.json("run", plan, "--repository", url)["run"]
    shown = commands.json("show", failed, "b")
    ledger.let("b", "")

    retried = commands.json("retry", failed)
    edited = commands.plan(ledger.plan(DIAMOND, d="    prompt: with care\n"), "edited.yaml")
    reused = commands.json("run", edited, "--reuse", retried["run"])

    for command in shown["commands"][:2]:
        run_git(commands.repository, *command.split(" ")[1:])
    assert "half" in files_of(commands.repository, shown["ref"])
    assert (retried["outcome"], reused["outcome"]) == ("succeeded", "succeeded")
    assert ledger.runs == {"a": 1, "b": 2, "c": 1, "d": 2}
    steps = refs_of(shared, f"refs/branchwork/{reused['run']}/steps")
    assert len(steps) == len(DIAMOND)
    assert set(files_of(shared, reused["branch"])) >= {"a.txt", "b.txt", "c.txt", "d.txt"}


def test_another_base_runs_every_step_again_and_says_so_once(
    commands: Commands, ledger: Ledger
) -> None:
    plan = commands.plan(ledger.plan(DIAMOND))
    old = commands.json("run", plan)["run"]
    before = head_of(commands.repository)
    head = commit_all(commands.repository, "later")

    done = commands("run", plan, "--reuse", old, "--base", "HEAD")

    assert done.returncode == 0, done.stderr
    told = f"every step runs again: the base changed from {before[:10]} to {head[:10]}\n"
    assert told in done.stderr
    assert "step 'a' runs again" not in done.stderr
    assert ledger.runs == dict.fromkeys(DIAMOND, 2)


def test_what_a_run_took_over_outlives_the_refs_of_the_run_that_made_it(
    commands: Commands, ledger: Ledger
) -> None:
    old = failed_run(commands, ledger)
    new = commands.json("retry", old)["run"]
    forget(commands.repository, old)
    ledger.let("b", "")

    report = commands.json("retry", new)

    assert report["outcome"] == "succeeded"
    assert ledger.runs == {"a": 1, "b": 3, "c": 1, "d": 1}


def test_a_result_that_is_gone_fails_by_name_and_says_how_to_go_on(
    commands: Commands, ledger: Ledger
) -> None:
    old = failed_run(commands, ledger)
    ledger.let("b", "")
    forget(commands.repository, old)

    failed = commands("retry", old, "--id", "again-gone")
    mended = commands("retry", "again-gone", "a", "c")

    assert failed.returncode == 1
    assert "ResultGone: " in failed.stderr
    assert failed.stderr.endswith("  go on        branchwork retry again-gone\n")
    assert "`branchwork retry again-gone a c`" in failed.stderr
    assert mended.returncode == 0, mended.stderr
    assert ledger.runs == {"a": 2, "b": 2, "c": 2, "d": 1}


def forget(repository: Path, run: str) -> None:
    """All that keeps the run's commits, and then the commits that nothing else keeps."""
    for ref in refs_of(repository, f"refs/branchwork/{run}"):
        run_git(repository, "update-ref", "-d", ref)
    branch = f"branchwork/{run}"
    if run_git(repository, "branch", "--list", branch):
        run_git(repository, "branch", "-D", branch)
    run_git(repository, "gc", "--quiet", "--prune=now")
