"""Workers with labels: whether there are those that runs wait for."""

import asyncio
from collections.abc import Iterable

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import Client

from branchwork.cli.connection import is_polled
from branchwork.cli.installation import Finding, Level
from branchwork.contract import LABELS_MEMO, RUN_PLAN
from branchwork.labels import Labels, told_labels
from branchwork.names import step_queue

_MOST_RUNS = 200
_STARTING_SECONDS = 1.0


async def unserved(client: Client, needed: Iterable[Labels]) -> list[Labels]:
    """Those sets of labels that no worker has, as far as can be told."""
    kind = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
    return [labels for labels in needed if not await is_polled(client, step_queue(labels), kind)]


async def still_unserved(client: Client, needed: Iterable[Labels]) -> list[Labels]:
    """As `unserved`; a worker that is just starting asks for work a moment later."""
    missing = await unserved(client, needed)
    if missing:
        await asyncio.sleep(_STARTING_SECONDS)
    return await unserved(client, missing)


def told_unserved(labels: Labels) -> str:
    return f"no worker serves {told_labels(labels)}; start one with `{with_labels(labels)}`"


def with_labels(labels: Labels) -> str:
    """The command that starts a worker with these labels."""
    return " ".join(["branchwork worker", *(f"--label {label}" for label in labels)])


async def look_at_pools(client: Client) -> list[Finding]:
    """One for each set of labels that runs under way need."""
    waiting = await _needed(client)
    missing = await unserved(client, sorted(waiting))
    return [
        Finding(
            name="pool",
            level=Level.WARNING if labels in missing else Level.OK,
            text=f"{'no' if labels in missing else 'a'} worker serves {told_labels(labels)},"
            f" which {runs[0]} needs{_more(runs)}",
            next=with_labels(labels) if labels in missing else None,
        )
        for labels, runs in sorted(waiting.items())
    ]


def _more(runs: list[str]) -> str:
    return f" and {len(runs) - 1} more" if len(runs) > 1 else ""


async def _needed(client: Client) -> dict[Labels, list[str]]:
    """By labels: the runs under way that have steps for them."""
    query = f"WorkflowType = '{RUN_PLAN}' AND ExecutionStatus = 'Running'"
    found: dict[Labels, list[str]] = {}
    async for execution in client.list_workflows(query, limit=_MOST_RUNS):
        for labels in (await execution.memo()).get(LABELS_MEMO, ()):
            found.setdefault(tuple(labels), []).append(execution.id)
    return found
