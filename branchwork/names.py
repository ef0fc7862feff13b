"""Every name that Branchwork gives: ids, refs, branches, folders, queues.

All are made from (run, step, attempt), never from the time, so that whoever
tries again finds what is already there.
"""

import re
import secrets
from hashlib import sha256
from pathlib import Path

from branchwork.addresses import is_url
from branchwork.labels import Labels

_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")

RUN_QUEUE = "branchwork"
"""Task queue of `RunPlan` and the short activities of a run."""
STEP_QUEUE = "branchwork.steps"
"""Task queue of agents that any worker may run. Another than the runs', so that its limits hold
for eager starts too."""
_HOST_QUEUE = "branchwork.host"

ALL_RUNS = "refs/branchwork/"
"""Refs that nobody but Branchwork writes."""

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def bad_id(name: str, longest: int = 64) -> str | None:
    """What is wrong with a plan's, step's or run's id; None if nothing is.

    A good one is valid in refs, paths and Temporal ids alike.
    """
    if not _ID.fullmatch(name) or len(name) > longest:
        return (
            f"{name!r} is not an id: 1 to {longest} of a-z, 0-9, '.', '_' and '-',"
            " the first a letter or digit"
        )
    if ".." in name or name.endswith((".", ".lock")):
        return f"{name!r} cannot be part of a git ref: no '..', no '.' or '.lock' at its end"
    return None


def bad_run_id(name: str) -> str | None:
    """As `bad_id`, but long enough for the longest plan name and its suffix."""
    return bad_id(name, longest=80)


def new_run_id(plan: str) -> str:
    """`<plan>-<8 random base32 characters>`: 40 bits, so that no two runs meet."""
    return f"{plan}-{''.join(secrets.choice(_BASE32) for _ in range(8))}"


def step_queue(labels: Labels) -> str:
    """Of the steps that run on workers with all of these labels."""
    return f"{STEP_QUEUE}.{'+'.join(sorted(labels))}" if labels else STEP_QUEUE


def host_queue(host: str) -> str:
    """Of what one host alone can do: go on with what it has begun."""
    return f"{_HOST_QUEUE}.{host}"


def host_of_queue(queue: str) -> str | None:
    """Whose queue it is; None of one that is for several hosts."""
    prefix = f"{_HOST_QUEUE}."
    return queue.removeprefix(prefix) if queue.startswith(prefix) else None


def labels_of_queue(queue: str) -> Labels:
    """What its workers have; none for the queue that any worker serves."""
    prefix = f"{STEP_QUEUE}."
    return tuple(queue.removeprefix(prefix).split("+")) if queue.startswith(prefix) else ()


def run_branch(run: str) -> str:
    return f"branchwork/{run}"


def run_refs(run: str) -> str:
    """The folder of a run's refs."""
    return f"{ALL_RUNS}{run}"


def base_ref(run: str) -> str:
    return f"{run_refs(run)}/base"


def result_ref(run: str) -> str:
    return f"{run_refs(run)}/result"


def step_ref(run: str, step: str) -> str:
    """Where a step's result is published when it succeeded."""
    return f"{run_refs(run)}/steps/{step}"


def attempt_refs(run: str, step: str) -> str:
    """The folder of the refs of a step's attempts."""
    return f"{run_refs(run)}/attempts/{step}"


def attempt_ref(run: str, step: str, attempt: int) -> str:
    """Where the work of one attempt is kept, whatever its outcome."""
    return f"{attempt_refs(run, step)}/{attempt}"


class StateFolder:
    """Where things lie below `$XDG_STATE_HOME/branchwork`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def runs(self) -> Path:
        """A folder a run, in it one a step, in it one an attempt."""
        return self.root / "runs"

    def attempts(self, run: str, step: str) -> Path:
        return self.runs / run / step

    def attempt(self, run: str, step: str, attempt: int) -> Path:
        """Record, log, prompt, parameters and output of one attempt."""
        return self.attempts(run, step) / str(attempt)

    def log(self, run: str, step: str, attempt: int) -> Path:
        return self.attempt(run, step, attempt) / "output.log"

    @property
    def worktrees(self) -> Path:
        """A folder a run, in it one a step."""
        return self.root / "worktrees"

    def worktree(self, run: str, step: str) -> Path:
        return self.worktrees / run / step

    @property
    def repositories(self) -> Path:
        """A folder for each repository that is known by its URL, in it this host's clone."""
        return self.root / "repositories"

    def repository(self, address: str) -> Path:
        """Where git is called for a repository: at its path, or in this host's clone of the URL."""
        if not is_url(address):
            return Path(address)
        return self.repositories / sha256(address.encode()).hexdigest()[:24] / "clone.git"

    @property
    def trash(self) -> Path:
        """Where removed worktrees wait to be deleted; on the worktrees' file system."""
        return self.root / "trash"

    @property
    def server(self) -> Path:
        return self.root / "server"

    @property
    def worker(self) -> Path:
        return self.root / "worker"
