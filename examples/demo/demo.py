"""A plan on a repository made for it, run as a user would: `make demo`.

Three services are refactored and reviewed at once by small programs that stand in for
coding agents, so no key is needed. Everything stays in one folder, to look around in.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BRANCHWORK = Path(sys.executable).with_name("branchwork")


def main() -> int:
    if not BRANCHWORK.exists():
        print(f"there is no {BRANCHWORK}; start the demo with `make demo`", file=sys.stderr)
        return 2
    folder = chosen_folder()
    make_repository(folder)
    before = state_of(folder)
    print(f"$ cd {folder} && branchwork run plan.yaml", flush=True)
    code, report = run_plan(folder)
    if report is None:
        print(f"the repository stays in {folder}")
        return code
    show_timing(report)
    show_result(folder, report)
    show_checkout(folder, unchanged=state_of(folder) == before)
    show_next(folder, report)
    return code


def chosen_folder() -> Path:
    """An empty one. Ends the program if the one that was asked for is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to make the repository; empty or new")
    folder: Path | None = parser.parse_args().folder
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="branchwork-demo-"))
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        parser.error(f"{folder} is not an empty folder; name another, or leave --folder out")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def make_repository(folder: Path) -> None:
    """Services, their tests, the agents and the plan, in one commit on `main`."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    shutil.copytree(HERE / "repository", folder, ignore=ignored, dirs_exist_ok=True)
    shutil.copytree(HERE / "agents", folder / "tools" / "agents", ignore=ignored)
    shutil.copy(HERE / "plan.yaml", folder)
    shutil.copy(HERE.parent / "plan.schema.json", folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    # Kept there, so that `branchwork merge` can commit on a machine without a git identity.
    git(folder, "config", "user.name", "Branchwork demo")
    git(folder, "config", "user.email", "demo@example.org")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Three services, to be refactored")


def run_plan(folder: Path) -> tuple[int, dict[str, Any] | None]:
    """The exit code of `branchwork run`, and its report; None if it was left before its end."""
    command = [str(BRANCHWORK), "run", "plan.yaml", "--json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as running:
        # Ctrl-C reaches both: it is for the command, which asks what is meant by it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        answer, _ = running.communicate()
    return running.returncode, json.loads(answer) if answer else None


def show_timing(report: dict[str, Any]) -> None:
    """That a review waits for its own refactor only."""
    steps = {step["step"]: step for step in report["steps"]}
    slowest = steps["payment-refactor"]["ended_at"]
    for review in ("auth-review", "api-review"):
        started = steps[review]["started_at"]
        if started and slowest and started < slowest:
            lead = datetime.fromisoformat(slowest) - datetime.fromisoformat(started)
            print(f"{review} began {lead.total_seconds():.1f} s before payment-refactor ended")


def show_result(folder: Path, report: dict[str, Any]) -> None:
    if report["branch"]:
        print(f"\nresult branch {report['branch']}")
        print(git(folder, "diff", "--stat", report["base"], report["branch"]))
    if link := temporal_link(report["run"]):
        print(f"\nTemporal UI   {link}")


def temporal_link(run: str) -> str | None:
    """Of the run's page; None if it is not known where the UI is."""
    done = subprocess.run(
        [str(BRANCHWORK), "up", "--json"], capture_output=True, text=True, check=False
    )
    ui = json.loads(done.stdout)["ui"] if done.returncode == 0 else None
    return f"{ui}/namespaces/default/workflows/{run}" if ui else None


def show_checkout(folder: Path, *, unchanged: bool) -> None:
    found = "as it was" if unchanged else "CHANGED, which must not be: please report this"
    print(f"checkout      {found}: {git(folder, 'status', '--short', '--branch')}")


def show_next(folder: Path, report: dict[str, Any]) -> None:
    print(f"\nTry next:\n  cd {folder}")
    if report["branch"]:
        print(f"  {BRANCHWORK} diff {report['run']}")
        print(f"  {BRANCHWORK} merge {report['run']}")
    else:
        print(f"  {BRANCHWORK} status {report['run']}")
    print(f"  {BRANCHWORK} down    # stops the server and the worker")


def state_of(folder: Path) -> tuple[str, ...]:
    """What a user would notice: the branch, its commit, what differs from it."""
    asked = (("symbolic-ref", "HEAD"), ("rev-parse", "HEAD"), ("status", "--porcelain"))
    return tuple(git(folder, *arguments) for arguments in asked)


def git(folder: Path, *arguments: str) -> str:
    """What git prints, whatever the user's own settings are: hooks, signing, templates."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.rstrip()


if __name__ == "__main__":
    sys.exit(main())
