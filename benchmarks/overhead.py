"""What a run costs beside a bare script that does the same git work.

    python benchmarks/overhead.py [--rounds 3] [--folder /dev/shm]

Both make a fresh worktree a step, run its command there, commit what changed,
set a ref and remove the worktree. They take turns, so that a machine whose
speed drifts is the same for both. Prints the medians and their ratio.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from branchwork.cli.leaving import leave
from branchwork.client import Branchwork
from branchwork.contract import RunRequest
from branchwork.plan import Plan

PARALLEL = 8
FILES = 125
BRANCHWORK = Path(sys.executable).with_name("branchwork")


class Case(NamedTuple):
    name: str
    command: str
    count: int
    chained: bool


CASES = (
    Case("100 no-op steps, 8 parallel", "true", 100, chained=False),
    Case("a chain of 30 no-op steps", "true", 30, chained=True),
    Case("40 x sleep 1, 8 parallel", "sleep 1", 40, chained=False),
    Case(
        "100 steps that each write a file, 8 parallel",
        "date > $BRANCHWORK_STEP.txt",
        100,
        chained=False,
    ),
)


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        repository = make_repository(Path(folder, "repository"))
        with server(Path(folder, "state")) as address:
            asyncio.run(compare(address, repository, Path(folder), options.rounds))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)  # noqa: S108
    return parser.parse_args()


async def compare(address: str, repository: Path, folder: Path, rounds: int) -> None:
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    runs = Branchwork(client)
    await through_branchwork(runs, repository, Case("warm-up", "true", 8, chained=False))
    print(f"{'case':48} {'bare s':>8} {'ours s':>8} {'ratio':>6}   (medians of {rounds})")
    for case in CASES:
        bare, ours = [], []
        for turn in range(rounds):
            bare.append(timed(partial(bare_script, repository, folder, case, turn)))
            began = time.perf_counter()
            await through_branchwork(runs, repository, case)
            ours.append(time.perf_counter() - began)
        ratios = [one / other for one, other in zip(ours, bare, strict=True)]
        print(
            f"{case.name:48} {statistics.median(bare):8.2f} {statistics.median(ours):8.2f}"
            f" {statistics.median(ratios):6.2f}",
            flush=True,
        )


async def through_branchwork(runs: Branchwork, repository: Path, case: Case) -> None:
    request = RunRequest(plan=plan_of(case), repository=str(repository))
    report = await runs.wait(await runs.start(request))
    if report.outcome != "succeeded":
        raise SystemExit(f"{case.name}: {report.reason}")


def plan_of(case: Case) -> Plan:
    steps: list[dict[str, Any]] = [
        {"id": f"s{number}", "run": case.command} for number in range(case.count)
    ]
    if case.chained:
        for number in range(1, case.count):
            steps[number]["needs"] = [f"s{number - 1}"]
    return Plan.model_validate({"plan": "overhead", "max_parallel": PARALLEL, "steps": steps})


def bare_script(repository: Path, folder: Path, case: Case, turn: int) -> None:
    """What one would write without us: nothing durable, no checks, no report."""

    def step(number: int, base: str) -> str:
        return bare_step(repository, folder / f"bare-{number}", base, case.command, (turn, number))

    base = git(repository, "rev-parse", "HEAD")
    if case.chained:
        for number in range(case.count):
            base = step(number, base)
        results = [base]
    else:
        with ThreadPoolExecutor(PARALLEL) as pool:
            results = list(pool.map(lambda number: step(number, base), range(case.count)))
    merged = base
    for result in dict.fromkeys(results):
        if result not in (base, merged):
            tree = git(repository, "merge-tree", "--write-tree", merged, result)
            merged = git(repository, "commit-tree", tree, "-p", merged, "-p", result, "-m", "m")
    git(repository, "update-ref", f"refs/heads/bare-{time.time_ns()}", merged)


def bare_step(
    repository: Path, worktree: Path, base: str, command: str, key: tuple[int, int]
) -> str:
    insist(repository, "worktree", "add", "--detach", str(worktree), base)
    environment = {**os.environ, "BRANCHWORK_STEP": f"s{key[1]}"}
    subprocess.run(["/bin/sh", "-e", "-c", command], cwd=worktree, check=True, env=environment)
    git(worktree, "add", "-A")
    if git(worktree, "status", "--porcelain"):
        git(worktree, "commit", "-q", "-m", f"step {key[1]}")
    result = git(worktree, "rev-parse", "HEAD")
    git(repository, "update-ref", f"refs/bare/{key[0]}-{time.time_ns()}/{key[1]}", result)
    insist(repository, "worktree", "remove", "--force", str(worktree))
    return result


def insist(repository: Path, *arguments: str) -> None:
    """Worktrees added and removed at once make each other fail now and then."""
    for _ in range(20):
        try:
            git(repository, *arguments)
        except subprocess.CalledProcessError:
            continue
        return
    raise SystemExit(f"git {' '.join(arguments)} failed 20 times")


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]
    answer = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return answer.stdout.strip()


def make_repository(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number in range(FILES):
        path = folder / f"package{number % 10}" / f"module{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"VALUE = {number}\n" * 40)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "base")
    return folder


@contextmanager
def server(state: Path) -> Iterator[str]:
    """A Temporal server and a worker of its own, as `branchwork up` starts them."""
    ports = {"BRANCHWORK_SERVER_PORT": "17233", "BRANCHWORK_UI_PORT": "18233"}
    environment = {**os.environ, "XDG_STATE_HOME": str(state), **ports}
    up = subprocess.run(
        [BRANCHWORK, "up", "--json"], check=True, env=environment, stdout=subprocess.PIPE
    )
    try:
        yield json.loads(up.stdout)["address"]
    finally:
        subprocess.run([BRANCHWORK, "down"], check=False, env=environment)


if __name__ == "__main__":
    leave(main())
