"""Agents that wait for the test, and what Temporal tells of tries that failed."""

import asyncio
from pathlib import Path

from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowExecutionStatus

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


async def until_told(client: Client, run: str, what: str, activity: str = "") -> str:
    """What Temporal knows of an activity under way, once it tells of `what`: the failure of its
    last try, or else its last heartbeat.
    """
    told: dict[str, str] = {}
    for _ in range(900):
        description = await client.get_workflow_handle(run).describe()
        assert description.status is WorkflowExecutionStatus.RUNNING, f"ended after {told}"
        for info in description.raw_description.pending_activities:
            told[info.activity_id] = _told(info)
        for name, text in told.items():
            if what in text and activity in name:
                return text
        await asyncio.sleep(0.1)
    raise AssertionError(f"nothing told of {what}: {told}")


def _told(info: PendingActivityInfo) -> str:
    beats = " ".join(payload.data.decode() for payload in info.heartbeat_details.payloads)
    return f"{told_failure(info.last_failure)} {beats}" if info.HasField("last_failure") else beats
