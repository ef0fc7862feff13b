"""The commands, run as a user runs them: what they answer, narrate and exit with."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from commands import Commands, commands_in, interrupt
from repositories import files_of, make_repository, run_git, state_of, write_files
from workers import processes_of

HELLO = """\
plan: hello
steps:
  - id: one
    run: echo one > one.txt; echo said by one
    creates: [one.txt]
  - id: two
    run: cat one.txt > two.txt
    requires: [one.txt]
    creates: [two.txt]
"""
FAILING = "plan: failing\nsteps:\n  - {id: bad, run: 'echo why >&2; exit 3'}\n"
SLEEPING = "plan: sleeping\nsteps:\n  - {id: slow, run: 'echo started; sleep 300'}\n"
COMMANDS = (
    *("run", "watch", "cancel", "pause", "resume", "merge", "status", "list", "logs", "diff"),
    *("check", "up", "down", "worker", "doctor", "retry", "show"),
)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """One server and worker for the module: what `run` starts, the next one finds."""
    folder = tmp_path_factory.mktemp("cli")
    with commands_in(make_repository(folder / "repository"), folder / "state") as commands:
        yield commands


def test_run_answers_with_the_result_branch_and_narrates_the_rest(commands: Commands) -> None:
    before = state_of(commands.repository)[:2]

    done = commands("run", commands.plan(HELLO))

    branch = done.stdout.strip()
    assert done.returncode == 0, done.stderr
    assert files_of(commands.repository, branch)["two.txt"] == "one"
    assert "two: succeeded" in done.stderr
    assert "/namespaces/default/workflows/hello-" in done.stderr
    assert "\x1b" not in done.stderr
    (commands.repository / "plan.yaml").unlink()
    assert state_of(commands.repository)[:2] == before


def test_a_failed_run_exits_with_1_and_says_why(commands: Commands) -> None:
    done = commands("run", commands.plan(FAILING))

    assert done.returncode == 1
    assert done.stdout == ""
    assert "bad failed: AgentFailed: exit 3" in done.stderr
    assert "why" in done.stderr


def test_the_report_as_json_has_every_documented_field(commands: Commands) -> None:
    report = commands.json("run", commands.plan(HELLO))

    assert list(report) == [
        *("run", "plan", "outcome", "status", "base", "result", "branch"),
        *("started_at", "ended_at", "reason", "steps"),
    ]
    assert set(report["steps"][0]) == {
        *("step", "agent", "outcome", "status", "attempts", "base", "result", "started_at"),
        *("ended_at", "duration_seconds", "reason", "output", "kept", "reused", "changed"),
    }
    assert report["started_at"].endswith("Z")
    assert report["reason"] is None
    assert [step["step"] for step in report["steps"]] == ["one", "two"]
    assert commands.json("status", report["run"]) == report


def test_detach_prints_the_run_and_nothing_else(commands: Commands) -> None:
    done = commands("run", commands.plan(HELLO), "--detach", "--id", "hello-detached")

    watched = commands("watch", "hello-detached")

    assert done.stdout == "hello-detached\n"
    assert watched.returncode == 0
    assert watched.stdout == "branchwork/hello-detached\n"


def test_an_id_whose_run_has_ended_is_refused(commands: Commands) -> None:
    plan = commands.plan(HELLO)
    commands("run", plan, "--id", "hello-once")

    again = commands("run", plan, "--id", "hello-once")

    assert again.returncode == 2
    assert again.stderr.endswith("run hello-once has ended; choose another id\n")


def test_logs_diff_and_status_show_what_a_run_did(commands: Commands) -> None:
    run = commands.json("run", commands.plan(HELLO))["run"]

    assert commands("logs", run, "one").stdout == "said by one\n"
    assert "+one" in commands("diff", run).stdout
    assert "two.txt" in commands("diff", run, "two", "--stat").stdout
    assert "one.txt" not in commands("diff", run, "two", "--stat").stdout
    assert "succeeded" in commands("status", run).stdout


def test_list_shows_the_newest_run_first_with_its_outcome(commands: Commands) -> None:
    run = commands.json("run", commands.plan(FAILING))["run"]

    runs = commands.json("list")
    table = commands("list", "-n", "1").stdout

    assert runs[0]["run"] == run
    assert runs[0]["outcome"] == "failed"
    assert runs[0]["repository"] == str(commands.repository)
    assert run in table
    assert "failed" in table


def test_merge_brings_the_result_into_what_is_checked_out(commands: Commands) -> None:
    run = commands.json("run", commands.plan(HELLO.replace("one.txt", "merged.txt")))["run"]

    done = commands("merge", run)

    assert done.returncode == 0, done.stderr
    assert (commands.repository / "merged.txt").read_text() == "one\n"
    run_git(commands.repository, "reset", "--hard", "--quiet", "HEAD~1")


def test_a_merge_that_conflicts_names_the_files_and_changes_nothing(commands: Commands) -> None:
    plan = "plan: edit\nsteps:\n  - {id: edit, run: echo theirs > README}\n"
    run = commands.json("run", commands.plan(plan))["run"]
    (commands.repository / "README").write_text("mine\n")
    run_git(commands.repository, "commit", "--quiet", "--message", "mine", "README")
    before = state_of(commands.repository)

    done = commands("merge", run)

    assert done.returncode == 2
    assert "conflicts with what is checked out, in README" in done.stderr
    assert state_of(commands.repository) == before
    run_git(commands.repository, "reset", "--hard", "--quiet", "HEAD~1")


def test_a_merge_that_the_user_is_in_the_middle_of_is_left_alone(commands: Commands) -> None:
    plan = "plan: edit\nsteps:\n  - {id: edit, run: echo theirs > README}\n"
    run = commands.json("run", commands.plan(plan))["run"]
    (commands.repository / "README").write_text("mine\n")
    run_git(commands.repository, "commit", "--quiet", "--message", "mine", "README")
    with pytest.raises(CalledProcessError):
        run_git(commands.repository, "merge", f"branchwork/{run}")
    (commands.repository / "README").write_text("half resolved\n")

    done = commands("merge", run)

    assert done.returncode == 2
    assert "is in the middle of another merge" in done.stderr
    assert (commands.repository / "README").read_text() == "half resolved\n"
    run_git(commands.repository, "merge", "--abort")
    run_git(commands.repository, "reset", "--hard", "--quiet", "HEAD~1")


def test_cancel_ends_the_agents_and_tells_the_end(commands: Commands) -> None:
    run = commands("run", commands.plan(SLEEPING), "--detach").stdout.strip()
    commands.until_step(run, "slow", "running")

    done = commands("cancel", run)
    report = commands.json("status", run)

    assert done.returncode == 0
    assert f"{run} cancelled" in done.stderr
    assert report["outcome"] == "cancelled"
    assert report["steps"][0]["outcome"] == "cancelled"
    assert processes_of(run) == []


def test_one_step_can_be_cancelled(commands: Commands) -> None:
    plan = SLEEPING + "  - {id: other, run: 'true'}\n"
    run = commands("run", commands.plan(plan), "--detach").stdout.strip()
    commands.until_step(run, "slow", "running")

    done = commands("cancel", run, "--step", "slow")
    commands("watch", run)

    assert done.returncode == 0, done.stderr
    assert {step["step"]: step["outcome"] for step in commands.json("status", run)["steps"]} == {
        "slow": "cancelled",
        "other": "succeeded",
    }


def test_ctrl_c_without_a_terminal_detaches_and_the_run_goes_on(commands: Commands) -> None:
    process = commands.start("run", commands.plan(SLEEPING), "--id", "sleeping-ctrl-c")
    assert process.stderr is not None
    for line in process.stderr:
        if "slow: running" in line:
            break

    interrupt(process)
    _, rest = process.communicate(timeout=30)
    report = commands.json("status", "sleeping-ctrl-c")
    commands("cancel", "sleeping-ctrl-c")

    assert process.returncode == 130
    assert "the run goes on: branchwork watch sleeping-ctrl-c" in rest
    assert report["status"] == "running"


def test_logs_follow_a_step_until_it_ends(commands: Commands) -> None:
    plan = "plan: talk\nsteps:\n  - {id: talk, run: 'echo one; sleep 2; echo two'}\n"
    run = commands("run", commands.plan(plan), "--detach").stdout.strip()

    followed = commands("logs", run, "talk", "-f")

    assert followed.stdout == "one\ntwo\n"


def test_agents_come_from_options_before_the_plan_before_the_project(commands: Commands) -> None:
    plan = commands.plan(
        "plan: who\nagents: {b: {run: echo plan > b}}\nsteps:\n"
        "  - {id: a, agent: a}\n  - {id: b, agent: b}\n  - {id: c, agent: c}\n"
    )
    project = commands.repository / "branchwork.yaml"
    project.write_text("agents: {a: echo project > a, b: echo project > b, c: echo project > c}\n")

    report = commands.json("run", plan, "--agent", "c=echo option > c")
    project.unlink()

    files = files_of(commands.repository, report["branch"])
    assert (files["a"], files["b"], files["c"]) == ("project", "plan", "option")


def test_a_star_maps_every_agent_that_nothing_else_defines(commands: Commands) -> None:
    plan = commands.plan("plan: who\nsteps:\n  - {id: a, agent: x}\n  - {id: b, agent: y}\n")

    report = commands.json("run", plan, "--agent", "*=echo $BRANCHWORK_AGENT > $BRANCHWORK_STEP")

    files = files_of(commands.repository, report["branch"])
    assert (files["a"], files["b"]) == ("x", "y")


def test_parameters_can_be_overridden(commands: Commands) -> None:
    plan = commands.plan(
        "plan: level\nparams: {level: 1}\nsteps:\n"
        "  - {id: a, run: cat > level, prompt: '{{ params.level }}'}\n"
    )

    report = commands.json("run", plan, "--param", "level=3")
    wrong = commands("run", plan, "--param", "lvel=3")

    assert files_of(commands.repository, report["branch"])["level"] == "3"
    assert wrong.returncode == 2
    assert "no parameter 'lvel'; did you mean 'level'?" in wrong.stderr


def test_a_plan_that_cannot_run_is_refused_with_all_its_findings(commands: Commands) -> None:
    plan = commands.plan("plan: bad\nsteps:\n  - {id: a, agent: ghost, requires: [nowhere.txt]}\n")

    done = commands("run", plan)

    assert done.returncode == 2
    assert done.stdout == ""
    assert "plan.yaml:3:20: step 'a' is for agent 'ghost', which nothing defines" in done.stderr
    assert "plan.yaml:3:38: step 'a' requires 'nowhere.txt', which no step creates" in done.stderr


def test_a_path_that_a_symlink_leads_out_of_the_repository_is_refused_in_its_place(
    commands: Commands,
) -> None:
    (commands.repository / "out").symlink_to("further")
    (commands.repository / "further").symlink_to("../elsewhere")
    (commands.repository / "in").symlink_to("README")
    run_git(commands.repository, "add", "out", "further", "in")
    run_git(commands.repository, "commit", "--quiet", "--message", "links")
    steps = "  - {id: a, run: x, creates: [out/file, README], requires: [in]}\n"

    done = commands("check", commands.plan(f"plan: bad\nsteps:\n{steps}"))
    run_git(commands.repository, "reset", "--hard", "--quiet", "HEAD~1")

    assert done.returncode == 2
    assert done.stderr.splitlines()[1].startswith(
        "plan.yaml:3:31: 'out/file' leaves the repository through a symbolic link"
    )
    assert len(done.stderr.splitlines()) == 2


def test_what_the_base_holds_deep_inside_may_be_required(commands: Commands) -> None:
    write_files(commands.repository, {"src/deep/file.py": "x"})
    run_git(commands.repository, "add", "src")
    run_git(commands.repository, "commit", "--quiet", "--message", "deep")
    steps = "  - {id: a, run: x, requires: [src/deep/file.py, src/deep/, src]}\n"

    done = commands("check", commands.plan(f"plan: good\nsteps:\n{steps}"))
    run_git(commands.repository, "reset", "--hard", "--quiet", "HEAD~1")

    assert done.returncode == 0, done.stderr


def test_check_prints_the_graph_by_levels_and_runs_nothing(commands: Commands) -> None:
    plan = commands.plan(HELLO)

    text = commands("check", plan)
    graph = commands.json("check", plan)

    assert text.returncode == 0
    assert "level 2\n  two  command  ← one" in text.stdout
    assert graph["levels"] == [["one"], ["two"]]
    assert graph["needs"]["two"] == ["one"]


def test_check_prints_the_schema(commands: Commands) -> None:
    schema = json.loads(commands("check", "--schema").stdout)

    assert schema["title"] == "Branchwork plan"
    assert schema["additionalProperties"] is False


def test_a_wrong_plan_fails_the_check(commands: Commands) -> None:
    done = commands("check", commands.plan("plan: bad\nsteps:\n  - {id: a, runs: x}\n"))

    assert done.returncode == 2
    assert "plan.yaml:3:13: " in done.stderr
    assert "did you mean 'run'?" in done.stderr


@pytest.mark.parametrize("command", ["status", "watch", "cancel", "merge", "diff"])
def test_a_run_that_does_not_exist_is_told(commands: Commands, command: str) -> None:
    commands("up")

    done = commands(command, "nobody")

    assert done.returncode == 2
    assert "there is no run 'nobody'; see `branchwork list`" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(commands: Commands, command: str) -> None:
    done = commands(command, "--help")

    assert done.returncode == 0
    assert f"branchwork {command}" in done.stdout.partition("Example:")[2]


def test_a_wrong_option_exits_with_2(commands: Commands) -> None:
    assert commands("run", "--nonsense").returncode == 2
    assert commands("nonsense").returncode == 2


def test_a_folder_outside_of_any_repository_is_told(commands: Commands, tmp_path: Path) -> None:
    done = commands("run", commands.plan(HELLO), "--repository", str(tmp_path))

    assert done.returncode == 2
    assert f"{tmp_path} is in no git repository that can be used" in done.stderr


def test_a_configured_address_where_nobody_answers_starts_nothing(
    commands: Commands, tmp_path: Path
) -> None:
    environment = {"TEMPORAL_ADDRESS": "127.0.0.1:1", "XDG_STATE_HOME": str(tmp_path)}

    done = commands("run", commands.plan(HELLO), environment=environment)

    assert done.returncode == 1
    assert "no Temporal answers at 127.0.0.1:1" in done.stderr
    assert list(tmp_path.glob("branchwork/server/*")) == []


def test_doctor_finds_everything_in_order_while_server_and_worker_run(commands: Commands) -> None:
    commands("up")

    findings = commands.json("doctor")

    levels = {finding["name"]: finding["level"] for finding in findings}
    assert levels["server"] == "ok"
    assert levels["worker"] == "ok"
    assert "error" not in levels.values()


def test_a_worker_in_the_foreground_serves_the_embedded_server_until_it_is_told_to_stop(
    commands: Commands,
) -> None:
    commands("up")

    process = commands.start("worker", "--slots", "3")
    assert process.stderr is not None
    first = process.stderr.readline()
    process.terminate()
    _, rest = process.communicate(timeout=30)

    address = commands.json("up")["address"]
    assert f"serving runs at {address} with 3 slots" in first
    assert "stopped" in rest
    assert process.returncode == 0


def test_a_reader_that_goes_away_is_no_error(commands: Commands) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    with commands.start("check", "--schema", stdout=writing) as process:
        os.close(writing)
        _, narration = process.communicate(timeout=30)

    assert process.returncode in (0, 1)
    assert "Traceback" not in narration
