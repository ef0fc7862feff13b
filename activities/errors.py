"""How a fault of git reaches Temporal."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.exceptions import ApplicationError

from activities.git_faults import GitError


@contextmanager
def git_faults_named() -> Iterator[None]:
    """A GitError leaves as an ApplicationError of its name, tried again only if that can help."""
    try:
        yield
    except GitError as error:
        raise ApplicationError(
            str(error), type=error.name, non_retryable=not error.transient
        ) from error
