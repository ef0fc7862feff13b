"""Blocking work in threads, and asyncio work that a cancel must not break off."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """A pool as large as the worker's slots: asyncio's own has cores + 4 threads."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="branchwork")

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`call(…)` in a thread. A cancel is raised only when the thread is done with it."""
        loop = asyncio.get_running_loop()
        return await to_its_end(loop.run_in_executor(self._pool, lambda: call(*args, **kwargs)))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


async def to_its_end(work: asyncio.Future[T]) -> T:
    """Wait for `work` through every cancel; a cancel meanwhile is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # noqa: BLE001  # raised by the line after the loop
            break
    result = work.result()
    if cancelled:
        raise cancelled
    return result


async def shielded(work: Coroutine[None, None, T], seconds: float) -> T:
    """The result of `work`, which no cancel breaks off; TimeoutError after `seconds`.

    For cleanups: a cancel that comes meanwhile has nothing left to end.
    """
    task = asyncio.ensure_future(asyncio.wait_for(work, seconds))
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
        except Exception:  # noqa: BLE001  # raised by the next line
            break
    return task.result()
