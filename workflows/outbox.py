"""How much a run sends at once: everything that one workflow task asks for is one message."""

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from workflows.policies import MOST_MESSAGE_BYTES

_NEXT_TASK = timedelta(milliseconds=1)


class Outbox:
    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._task = 0
        """The workflow task, by the length of the history at its beginning."""
        self._bytes = 0
        """What it has sent so far."""

    async def room_for(self, size: int) -> None:
        """Returns in a workflow task that can send that much more; whoever asks first comes first.

        Temporal ends runs that send more than 4 MB in one.
        """
        async with self._turn:
            while not self._has_room(size):
                await workflow.sleep(_NEXT_TASK, summary="run · send · the rest in a next message")
            self._bytes += size

    def _has_room(self, size: int) -> bool:
        task = workflow.info().get_current_history_length()
        if task != self._task:
            self._task, self._bytes = task, 0
        return not self._bytes or self._bytes + size <= MOST_MESSAGE_BYTES
