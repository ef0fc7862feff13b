"""One try at a time on a step, of all workers of this host.

A worker that was stopped for longer than the heartbeat timeout comes back beside
the try that took over from it; neither may touch the other's worktree.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

_LOOK_SECONDS = 0.2


@asynccontextmanager
async def owned(folder: Path, waiting: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
    """Wait for the step whose attempts are in `folder`; a dead process gives it back.

    `waiting` is called once if somebody else has it.
    """
    with _opened(folder) as descriptor:
        if not taken(descriptor):
            waiting()
            while not taken(descriptor):  # noqa: ASYNC110  # other processes set no event
                await asyncio.sleep(_LOOK_SECONDS)
        yield


@contextmanager
def owned_if_free(folder: Path) -> Iterator[bool]:
    """Whether nobody works on that step, and nobody else can while the block lasts."""
    with _opened(folder) as descriptor:
        yield taken(descriptor)


def is_owned(folder: Path) -> bool:
    """Whether somebody works on that step at this moment. Leaves no trace."""
    if not folder.is_dir():
        return False
    with owned_if_free(folder) as is_free:
        return not is_free


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The folder itself: no file is left over. An open file of its own: threads and
    # processes exclude each other alike.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def taken(descriptor: int) -> bool:
    """Whether the lock on that open folder is ours now; nobody is waited for."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
