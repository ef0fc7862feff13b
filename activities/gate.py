"""How many attempts run at once on a host, whichever of its worker's queues they come from.

Temporal limits each of a process's workers for itself, and one that waits here may have
been taken from a queue that another host could serve at once: so nobody waits long.
"""

import asyncio
from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

WAIT_SECONDS = 20.0
"""Then the attempt goes back to its queue, for whichever worker has a slot first."""
_AGAIN_AFTER = timedelta(seconds=1)


class Gate:
    """Lets as many in as the host has slots, in the order in which they came."""

    def __init__(self, slots: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._wait_seconds = wait_seconds

    def is_full(self) -> bool:
        return self._slots.locked()

    async def enter(self) -> None:
        """Raises ApplicationError `NoSlot`, to be tried again, where none was free in time."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise no_slot("every slot of this worker was taken") from error

    def leave(self) -> None:
        self._slots.release()


def no_slot(why: str) -> ApplicationError:
    return ApplicationError(
        f"{why}; the attempt has not begun, and waits for a slot of any",
        type="NoSlot",
        next_retry_delay=_AGAIN_AFTER,
        category=ApplicationErrorCategory.BENIGN,
    )
