"""The clocks of steps whose attempts are limited together: a durable timer for each of these."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from branchwork.plan import Step
    from branchwork.stops import Stop, total_passed


class Totals:
    def __init__(self, end_step: Callable[[str, Stop], None]) -> None:
        self._end_step = end_step
        self._clocks: dict[str, asyncio.Task[None]] = {}
        self.ends: dict[str, datetime] = {}
        """By step: when its time is over."""

    def start(self, step: Step) -> None:
        """From the first attempt on; does nothing for a further one, or without a `total`."""
        if step.total is not None and step.id not in self._clocks:
            self.ends.setdefault(step.id, workflow.now() + step.total)
            self._clocks[step.id] = asyncio.create_task(self._run(step))

    def go_on(self, step: Step) -> None:
        """If its clock ran in the history before this one."""
        if step.id in self.ends:
            self.start(step)

    def stop(self, step: str) -> None:
        """The step has ended."""
        self.ends.pop(step, None)
        if clock := self._clocks.pop(step, None):
            clock.cancel()

    async def _run(self, step: Step) -> None:
        if step.total is not None:
            left = max(self.ends[step.id] - workflow.now(), timedelta())
            await workflow.sleep(left, summary=f"{step.id} · total of its attempts")
            # Two turns of the loop later: an attempt that has ended by now, but was not
            # resumed yet, is to keep its result; it stops this clock.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self._end_step(step.id, total_passed(step.total))
