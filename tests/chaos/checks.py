"""What must hold after a run, whatever was killed meanwhile."""

import asyncio
import json
import subprocess
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from branchwork.names import run_branch
from branchwork.outcomes import Outcome, RunReport
from chaos.made import LEDGER
from chaos.plans import Scripts, expected_files
from chaos.world import FILES, World
from repositories import run_git, state_of

CLEAN_SECONDS = 110
"""A worker looks at its start and again a minute later, as it does every half minute."""

Line = Mapping[str, Any]


def ledger_of(world: World, run: str) -> list[Line]:
    ledger = world.folder / LEDGER
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return [line for line in map(json.loads, lines) if line["run"] == run]


def user_state(repository: Path) -> tuple[str, ...]:
    """As `state_of`, without the branches that runs make."""
    return tuple(
        "\n".join(line for line in part.splitlines() if "refs/heads/branchwork/" not in line)
        for part in state_of(repository)
    )


def bad_end(report: RunReport) -> Iterator[str]:
    """A run of ours succeeds, whatever is killed."""
    if report.outcome is not Outcome.SUCCEEDED:
        yield f"the run {report.outcome}: {report.reason}"
    for step in report.steps:
        if step.outcome is not Outcome.SUCCEEDED:
            yield f"step {step.step} {step.outcome}: {step.reason}"


def unclear_end(report: RunReport) -> Iterator[str]:
    """A cancelled run says of each step how it ended; it may have been too late to cancel."""
    if report.outcome not in (Outcome.CANCELLED, Outcome.SUCCEEDED):
        yield f"the run {report.outcome}: {report.reason}"
    for step in report.steps:
        if step.outcome is None:
            yield f"step {step.step} has no outcome"


def bad_tree(repository: Path, run: str, scripts: Scripts) -> Iterator[str]:
    """Against what an undisturbed run leaves; tokens differ from run to run."""
    wanted = {**FILES, **expected_files(scripts)}
    found = files_at(repository, run_branch(run))
    for name in sorted(wanted.keys() | found.keys()):
        there = "" if name.startswith("tokens/") and name in found else found.get(name)
        if there != wanted.get(name):
            yield f"{name} holds {there!r} and not {wanted.get(name)!r}"


def repeats(
    lines: Sequence[Line], scripts: Scripts, hit: Container[int], *, hosts: int = 1
) -> Iterator[str]:
    """A step that ended well, or of which another made use, does not begin again.

    Except where who told its end was `hit` before anybody could see that it had ended; and
    of several hosts, one may be lost with an end that only its disk knows.
    """
    for line in lines:
        if line["what"] != "begin":
            continue
        step, before = line["step"], [other for other in lines if other["at"] < line["at"]]
        ends = [other for other in before if other["step"] == step and other["what"] == "end"]
        seen = [end for end in ends if end["pid"] not in hit and end["parent"] not in hit]
        if seen and hosts == 1:
            yield f"{step} began again, as {line['token']}, although it had ended"
        users = [script.step for script in scripts if step in script.needs]
        if any(other["step"] in users and other["what"] == "begin" for other in before):
            yield f"{step} began again, as {line['token']}, although its dependents had begun"


def doubles(lines: Iterable[Line]) -> Iterator[str]:
    """Agents that found another one of their step alive in their worktree."""
    for line in lines:
        if line.get("others"):
            yield f"{line['step']} began as {line['pid']} beside {line['others']}"


def lost_bytes(world: World, lines: Iterable[Line]) -> Iterator[str]:
    """What an agent certainly wrote and no ref leads to: of the remote, if there is one."""
    kept = "".join(_reachable(world.results))
    lost = [str(world.state(host).root) for host in world.lost_hosts]
    for line in lines:
        is_away = any(line["place"].startswith(root) for root in lost)
        if line["what"] == "wrote" and line["written"] not in kept and not is_away:
            yield f"{line['step']}, attempt {line['attempt']}: {line['written']} is on no ref"


def leftovers(world: World, run: str) -> list[str]:
    """Worktrees, processes, trash, locks, git's entries, and files that are half written.

    On hosts that are there. Raises FileNotFoundError while something is being removed.
    """
    hosts = [host for host in world.hosts if host not in world.lost_hosts]
    found = []
    for folder in world.git_folders:
        if not any(folder.is_relative_to(world.state(host).root) for host in world.lost_hosts):
            found += [f"entry {path}" for path in folder.glob("worktrees/*")]
            found += [f"lock {path}" for path in folder.glob("**/*.lock")]
    for host in hosts:
        state = world.state(host)
        found += [f"worktree {path}" for path in state.worktrees.glob("*")]
        found += [f"trash {path}" for path in state.trash.glob("*")]
        found += [f"half written {path}" for path in state.runs.glob("**/.*") if path.is_file()]
        found += [f"half made {path}" for path in state.repositories.glob("*/partial.git")]
    mark = f"BRANCHWORK_RUN={run}"
    return found + [f"process {process.pid}" for process in world.processes(mark)]


def _found(world: World, run: str) -> list[str]:
    try:
        return leftovers(world, run)
    except FileNotFoundError as error:
        return [f"just being removed: {error.filename}"]


async def left_over(world: World, run: str, seconds: float = CLEAN_SECONDS) -> list[str]:
    """What is still there after that time; returns as soon as nothing is."""
    until = time.monotonic() + seconds
    while found := await asyncio.to_thread(_found, world, run):
        if time.monotonic() > until:
            break
        await asyncio.sleep(0.1)
    return [f"left over: {what}" for what in found]


def files_at(repository: Path, commit: str) -> dict[str, str]:
    listed = run_git(repository, "ls-tree", "-r", "-z", commit).split("\0")[:-1]
    names = {name: about.split()[2] for about, name in (line.split("\t") for line in listed)}
    texts = dict(zip(names.values(), _texts(repository, names.values()), strict=True))
    return {name: texts[blob] for name, blob in names.items()}


def _reachable(repository: Path) -> Iterator[str]:
    """The content of everything that some ref leads to."""
    listed = run_git(repository, "rev-list", "--objects", "--all").splitlines()
    yield from _texts(repository, [line.split(" ")[0] for line in listed])


def _texts(repository: Path, objects: Iterable[str]) -> Iterator[str]:
    """Without the line that git puts before each of them."""
    done = subprocess.run(
        ["git", "cat-file", "--batch"],
        cwd=repository,
        input="".join(f"{name}\n" for name in objects).encode(),
        capture_output=True,
        check=True,
    )
    rest = done.stdout
    while rest:
        head, _, rest = rest.partition(b"\n")
        size = int(head.split()[2])
        yield rest[:size].decode(errors="replace")
        rest = rest[size + 1 :]
