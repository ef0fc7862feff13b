"""The examples: plans that are valid and run, and a demo whose agents do what they say."""

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from branchwork.contract import RunRequest
from branchwork.outcomes import RunReport
from branchwork.plan import Plan, Step
from branchwork.plan_file import load_plan, plan_schema
from repositories import (
    content_of,
    files_of,
    make_repository,
    run_git,
    worktrees_of,
    write_files,
)
from workers import serving

EXAMPLES = Path(__file__).parent.parent / "examples"
DEMO = EXAMPLES / "demo"
PLANS = sorted([*EXAMPLES.glob("*.yaml"), DEMO / "plan.yaml"])
SERVICES = ("auth", "api", "payment")


def name_of(path: Path) -> str:
    return str(path.relative_to(EXAMPLES))


def demo_plan() -> Plan:
    """The demo's, with agents that do not pretend to think."""
    plan = load_plan(DEMO / "plan.yaml").plan
    thinking = plan.params["thinking_seconds"]
    assert isinstance(thinking, dict)
    return plan.with_params({"thinking_seconds": dict.fromkeys(thinking, 0)})


def demo_repository(folder: Path) -> Path:
    """What demo.py makes."""
    spec = importlib.util.spec_from_file_location("demo", DEMO / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    folder.mkdir()
    demo.make_repository(folder)
    return folder


def run_tests(repository: Path) -> str:
    """What unittest says, the time left out."""
    done = subprocess.run(
        ["python3", "-B", "-m", "unittest"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{done.stderr.splitlines()[-3].partition(' in ')[0]}: {done.stderr.splitlines()[-1]}"


class Stage:
    """The demo's repository, in which agents are run by hand, one after the other."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.repository = demo_repository(folder / "repository")
        self.plan = demo_plan()
        self.outputs: dict[str, Any] = {}
        self._files = folder

    def play(self, step: Step) -> subprocess.CompletedProcess[str]:
        """Run the agent of a step as Branchwork would."""
        needs = {need: self.outputs[need] for need in self.plan.graph.needs[step.id]}
        output = self._files / "output.json"
        output.unlink(missing_ok=True)
        done = subprocess.run(
            self._command(step),
            cwd=self.repository,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONDONTWRITEBYTECODE": "1",
                "BRANCHWORK_STEP": step.id,
                "BRANCHWORK_CREATES": "\n".join(step.creates),
                "BRANCHWORK_PARAMS": self._json("params", self.plan.params),
                "BRANCHWORK_NEEDS": self._json("needs", needs),
                "BRANCHWORK_OUTPUT": str(output),
            },
            input=step.prompt,
            capture_output=True,
            text=True,
            check=False,
        )
        self.outputs[step.id] = json.loads(output.read_text()) if output.exists() else None
        return done

    def play_all(self) -> dict[str, subprocess.CompletedProcess[str]]:
        return {step.id: self.play(step) for step in self.plan.steps}

    def files(self) -> dict[str, str]:
        """All that git would commit."""
        names = run_git(self.repository, "ls-files", "--cached", "--others", "--exclude-standard")
        return {name: (self.repository / name).read_text() for name in names.splitlines()}

    def _command(self, step: Step) -> tuple[str, ...]:
        command = self.plan.agents[str(step.agent)].run
        assert isinstance(command, tuple)
        return command

    def _json(self, name: str, content: Mapping[str, Any]) -> str:
        path = self._files / f"{name}.json"
        path.write_text(json.dumps(dict(content)))
        return str(path)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "stage")


@pytest.mark.parametrize("path", PLANS, ids=name_of)
def test_every_plan_is_valid_and_tells_editors_its_schema(path: Path) -> None:
    loaded = load_plan(path)

    assert loaded.warnings == ()
    assert not loaded.plan.undefined_agents()
    first, _, second = path.read_text().split("\n")[:3]
    assert first == "# yaml-language-server: $schema=plan.schema.json"
    assert second.startswith("# ")


def test_the_schema_beside_the_plans_is_the_current_one() -> None:
    written = json.loads((EXAMPLES / "plan.schema.json").read_text())

    assert written == plan_schema(), "branchwork check --schema > examples/plan.schema.json"


def test_the_request_for_temporals_command_line_is_one() -> None:
    request = RunRequest.model_validate_json((EXAMPLES / "request.json").read_text())

    assert request.plan.steps == load_plan(EXAMPLES / "hello.yaml").plan.steps
    assert request.repository == "/path/to/your/repository"


async def run_example(client: Client, folder: Path, name: str) -> tuple[Path, RunReport]:
    repository = make_repository(folder / "repository", {"notes.txt": "TODO: write\n"})
    plan = load_plan(EXAMPLES / name).plan
    async with serving(client, folder) as host:
        report = await host.run(repository, plan.model_dump(mode="json", exclude_unset=True))
    return repository, report


async def test_hello_says_hello_twice(client: Client, tmp_path: Path) -> None:
    repository, report = await run_example(client, tmp_path, "hello.yaml")

    files = files_of(repository, str(report.branch))
    assert files["hello.txt"] == f"Hello from {report.run}"
    assert files["shout.txt"] == f"HELLO FROM {report.run.upper()}"


async def test_fan_out_merges_three_surveys(client: Client, tmp_path: Path) -> None:
    repository, report = await run_example(client, tmp_path, "fan-out.yaml")

    survey = content_of(repository, str(report.branch), "survey/report.txt")
    assert "1\tAda" in survey
    assert "notes.txt:1:TODO: write" in survey
    assert survey.count("==>") == 3


async def test_failures_end_as_the_plan_says(client: Client, tmp_path: Path) -> None:
    repository, report = await run_example(client, tmp_path, "failures.yaml")

    ends = {step.step: (str(step.outcome), step.attempts) for step in report.steps}
    assert report.outcome == "succeeded"
    assert ends == {
        "download": ("succeeded", 2),
        "spelling": ("timed_out", 1),
        "corrections": ("skipped", 0),
        "report": ("succeeded", 1),
    }
    assert content_of(repository, str(report.branch), "report.txt") == "5 data.txt"


async def test_agents_get_prompts_and_give_answers(client: Client, tmp_path: Path) -> None:
    repository, report = await run_example(client, tmp_path, "agents.yaml")

    files = files_of(repository, str(report.branch))
    assert files["draft.md"].startswith("# Durable execution\n")
    assert [step.output for step in report.steps] == [None, {"words": 16}, None]
    assert "has 16 words\nin 3 sections." in files["summary.md"]


def test_the_demos_repository_is_committed_as_it_stands(stage: Stage) -> None:
    assert run_git(stage.repository, "status", "--porcelain", "--ignored") == ""
    assert run_git(stage.repository, "log", "--format=%an <%ae> %D") == (
        "Branchwork demo <demo@example.org> HEAD -> main"
    )


def test_the_demos_tests_pass_before_and_after_its_agents(stage: Stage) -> None:
    before = run_tests(stage.repository)

    done = stage.play_all()

    assert {name: end.returncode for name, end in done.items()} == dict.fromkeys(done, 0)
    assert before == run_tests(stage.repository) == "Ran 10 tests: OK"


def test_the_demos_agents_leave_what_their_steps_create(stage: Stage) -> None:
    stage.play_all()

    created = [path for step in stage.plan.steps for path in step.creates]
    assert [path for path in created if not (stage.repository / path).exists()] == []


def test_the_improver_mends_every_flaw_and_keeps_comments(stage: Stage) -> None:
    stage.play_all()

    files = stage.files()
    mended = [files[name] for name in files if "/refactored/" in name]
    assert not any(flaw in code for flaw in ("except:", "== None", "=[]") for code in mended)
    assert "scopes: list | None = None" in files["services/auth/refactored/tokens.py"]
    assert "# A session without claims" in files["services/auth/refactored/tokens.py"]
    assert "from services.auth.refactored.tokens import" in files["services/auth/tokens.py"]


def test_agents_answer_with_what_they_wrote(stage: Stage) -> None:
    stage.play_all()

    files = stage.files()
    for service in SERVICES:
        report = json.loads(files[f"services/{service}/review-report.json"])
        assert report == stage.outputs[f"{service}-review"]
        assert report["verdict"] == "approved"
    assert stage.outputs["aggregate"] == json.loads(files["refactoring-results.json"])


def test_the_same_work_gives_the_same_files(stage: Stage, tmp_path: Path) -> None:
    again = Stage(tmp_path / "again")

    stage.play_all()
    again.play_all()

    assert stage.files() == again.files()


def test_a_reviewer_rejects_code_that_breaks_the_tests(stage: Stage) -> None:
    steps = stage.plan.by_id
    stage.play(steps["auth-refactor"])
    broken = {"services/auth/refactored/tokens.py": "def issue(user):\n    return user == None\n"}
    write_files(stage.repository, broken)

    done = stage.play(steps["auth-review"])

    assert done.returncode == 0
    assert stage.outputs["auth-review"]["verdict"] == "rejected"
    assert stage.outputs["auth-review"]["tests"]["passed"] is False
    assert stage.outputs["auth-review"]["flaws"] == ["tokens: to do: compare with None by 'is'"]


def test_one_rejection_fails_the_aggregate(stage: Stage) -> None:
    stage.play_all()
    review = {**stage.outputs["api-review"], "verdict": "rejected"}
    report = {"services/api/review-report.json": json.dumps(review)}
    write_files(stage.repository, report)

    unsaid = stage.play(stage.plan.by_id["aggregate"])
    stage.outputs["api-review"] = review
    said = stage.play(stage.plan.by_id["aggregate"])

    assert unsaid.returncode == said.returncode == 1
    assert unsaid.stderr == "no reviewer stands by its report of api\n"
    assert stage.outputs["aggregate"]["services"]["api"] == "rejected"


def run_demo(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO / "demo.py"), *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_demo_runs_its_plan_and_leaves_the_checkout_alone(
    client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    environment = {
        "TEMPORAL_ADDRESS": client.service_client.config.target_host,
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }

    async with serving(client, tmp_path):
        done = await asyncio.to_thread(run_demo, "--folder", str(folder), environment=environment)

    assert done.returncode == 0, done.stderr
    branch = done.stdout.partition("result branch ")[2].split()[0]
    assert "refactoring-results.json" in files_of(folder, branch)
    assert "13 files changed" in done.stdout
    assert "auth-review began" in done.stdout
    assert "checkout      as it was: ## main" in done.stdout
    assert f"diff {branch.removeprefix('branchwork/')}" in done.stdout
    assert f"merge {branch.removeprefix('branchwork/')}" in done.stdout
    assert worktrees_of(folder) == []


def test_the_demo_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    write_files(tmp_path, {"mine.txt": "mine\n"})

    done = run_demo("--folder", str(tmp_path), environment={})

    assert done.returncode == 2
    assert "is not an empty folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_crash_demo_shows_what_was_not_repeated() -> None:
    script = EXAMPLES / "crash-demo" / "crash_demo.py"

    shown = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=115
    )

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "not repeated: survey, parser, review; started anew: printer" in shown.stdout
    assert "what the killed agent had written is on refs/branchwork/" in shown.stdout
    shutil.rmtree(shown.stdout.rstrip().rpartition(" ")[2])
