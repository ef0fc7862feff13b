"""Structured concurrency for workflows, with an order that replays alike.

`asyncio.TaskGroup` cancels out of a set, in the order of memory addresses; a
replay in another process cancels in another order and hands results to the
wrong step. This group keeps a dict: it cancels in the order of the starts.
"""

import asyncio
from collections.abc import Callable, Coroutine

from temporalio import workflow


class StepGroup:
    """Tasks by name. Every one has ended when `join` returns."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._begun: dict[str, None] = {}
        self._cancelled: dict[str, None] = {}
        self._failure: BaseException | None = None

    def start(self, name: str, body: Coroutine[None, None, None]) -> None:
        self._tasks[name] = asyncio.create_task(self._run(name, body), name=name)

    def holds(self, name: str) -> bool:
        """Whether that task was started and has not ended."""
        return name in self._tasks

    def cancel(self, name: str) -> None:
        """Ask a task to end, once: a second cancel would break into its cleanup."""
        if name not in self._tasks or name in self._cancelled:
            return
        self._cancelled[name] = None
        task = self._tasks[name]
        if name in self._begun:
            task.cancel()
        else:
            # A task cancelled before its first step never enters its body, so nobody
            # would report it. Its first step is queued already, before this.
            asyncio.get_running_loop().call_soon(task.cancel)

    def is_cancelled(self, name: str) -> bool:
        """Whether a task that has not ended was asked to end."""
        return name in self._cancelled

    def cancel_all(self) -> None:
        """Ask every task to end, in the order of their starts.

        One turn of the loop later: what has ended by now, but was not resumed yet,
        is to keep its result.
        """
        asyncio.get_running_loop().call_soon(self._cancel_all)

    def _cancel_all(self) -> None:
        for name in list(self._tasks):
            self.cancel(name)

    async def join(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait for every task, those started meanwhile too. False once `until` holds before that.

        A failure cancels the others and is raised once all have ended. So is a
        cancel from outside; another one while they end changes nothing.
        """
        interrupted: asyncio.CancelledError | None = None
        while self._tasks:
            try:
                await workflow.wait_condition(lambda: not self._tasks or until())
                # Whoever woke up together with this has its turn before `until` is believed.
                await asyncio.sleep(0)
                if self._tasks and until():
                    return False
            except asyncio.CancelledError as error:
                interrupted = error
                self.cancel_all()
        failure = self._failure or interrupted
        if failure:
            raise failure
        return True

    async def drop(self) -> None:
        """End every task before this history ends; they wait for nothing that counts."""
        self._cancel_all()
        await workflow.wait_condition(lambda: not self._tasks)

    async def _run(self, name: str, body: Coroutine[None, None, None]) -> None:
        self._begun[name] = None
        try:
            await body
        except asyncio.CancelledError:
            pass
        except GeneratorExit:
            # The worker forgets the run, and collects what waited: outside of any loop.
            raise
        except BaseException as error:  # noqa: BLE001  # kept, and raised by join
            self._failure = self._failure or error
            self.cancel_all()
        finally:
            for book in (self._tasks, self._begun, self._cancelled):
                book.pop(name, None)
