"""Agents that wait for the test, and what Temporal tells of tries that failed."""

import asyncio
from pathlib import Path

from temporalio.client import Client

from branchwork.sights import told_failure


class Gate:
    """An agent waits at it until the test opens it; the ledger tells how often one came."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self._reached, self._open = folder / f"{name}.reached", folder / f"{name}.open"
        self._ledger = folder / f"{name}.ledger"

    @property
    def waiting(self) -> str:
        """For a script."""
        return (
            f"echo came >> {self._ledger}; touch {self._reached};"
            f" until test -e {self._open}; do sleep 0.05; done"
        )

    @property
    def visits(self) -> int:
        return len(self._ledger.read_text().splitlines())

    async def reached(self) -> None:
        while not self._reached.exists():
            await asyncio.sleep(0.05)

    def open(self) -> None:
        self._open.touch()


async def until_failure(client: Client, run: str, what: str, activity: str = "") -> str:
    """`Name: sentence` of the last try of an activity that Temporal tries again, once it tells
    of `what`.
    """
    told: dict[str, str] = {}
    for _ in range(600):
        description = await client.get_workflow_handle(run).describe()
        for info in description.raw_description.pending_activities:
            if info.HasField("last_failure"):
                told[info.activity_id] = told_failure(info.last_failure)
        for name, failure in told.items():
            if what in failure and activity in name:
                return failure
        await asyncio.sleep(0.1)
    raise AssertionError(f"nothing failed with {what}: {told}")
