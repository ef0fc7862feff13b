"""How a fault of git reaches Temporal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from temporalio.exceptions import ApplicationError

from activities.git_faults import GitError, disk_faults_named, while_under_way


@contextmanager
def git_faults_named(*, under_way: bool = True, worktree: Path | None = None) -> Iterator[None]:
    """A GitError leaves as an ApplicationError of its name, tried again only if that can help.

    So does what a disk refuses to us. `under_way`: the run has begun, and waits for what
    its user can mend. Where `worktree` still stands when the end is final, it holds work
    that could not be kept, and is named.
    """
    try:
        with disk_faults_named("work on this disk"):
            yield
    except GitError as error:
        fault = while_under_way(error) if under_way else error
        # From none: Temporal keeps 4 KB of a failure, and the sentence would give way to a trace.
        text = str(fault) if fault.transient else f"{fault}{_left_in(worktree, str(fault))}"
        raise ApplicationError(text, type=fault.name, non_retryable=not fault.transient) from None


def _left_in(worktree: Path | None, told: str) -> str:
    if worktree is None or not worktree.is_dir() or f"{worktree} " in told:
        return ""
    return f"; what was written is in {worktree}, and is kept once that is mended"
