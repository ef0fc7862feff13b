"""What is said of servers and workers that died, and of their return."""

from collections.abc import Iterator

from branchwork.cli.pools import with_labels
from branchwork.labels import told_labels
from branchwork.names import host_queue
from branchwork.sights import Loss, Lost, Sight


def sentence(lost: Lost, remedy: str) -> str:
    """`remedy` is the command that brings server and worker back; empty if none of ours does."""
    if lost.labels:
        # Another command than that which brings back the worker that was here.
        step, labels = lost.name, told_labels(lost.labels)
        return f"no worker takes step {step}, {labels}; start one with `{with_labels(lost.labels)}`"
    hint = f" (`{remedy}` starts {{}})" if remedy else ""
    match lost.loss:
        case Loss.SERVER:
            return f"server lost, waiting for it{hint.format('it again')}"
        case Loss.WORKER:
            return f"worker lost, waiting for one{hint.format('one')}"
        case Loss.TAKER:
            return f"no worker takes step {lost.name}, waiting for one{hint.format('one')}"
    if lost.is_back:
        return f"a worker is back on {lost.name}, and soon takes up what the lost one had"
    # Its host may be another than this one.
    return f"worker on {lost.name} lost, waiting for it"


def while_cancelling(before: Sight | None, after: Sight, remedy: str) -> Iterator[str]:
    """The same for who waits for a run, or a step of it, to end."""
    if after.misses(Loss.SERVER, Loss.HOST):
        yield from changes(before, after, remedy)
    elif after.lost and not (before and before.lost):
        how = f": {remedy}" if remedy else ""
        yield f"no worker answers; its agents are ended when one is back{how}"


def changes(before: Sight | None, after: Sight, remedy: str) -> Iterator[str]:
    """What was lost, or came back, from one sight to the next."""
    old = before.lost if before else ()
    for lost in after.lost:
        if lost not in old:
            yield sentence(lost, remedy)
    if old and not after.lost:
        yield from dict.fromkeys(_return(lost, after) for lost in old)


def _return(lost: Lost, after: Sight) -> str:
    match lost.loss:
        case Loss.SERVER:
            return "the server is back"
        case Loss.HOST if lost.is_back or _goes_on(lost.name, after):
            return f"the worker on {lost.name} is back, the run goes on"
        case Loss.HOST:
            return f"no step waits for the worker on {lost.name} any more"
        case Loss.TAKER:
            return f"there is a worker for step {lost.name}"
        case Loss.WORKER:
            return "a worker is back"


def _goes_on(host: str, sight: Sight) -> bool:
    """Whether that host took up again what its lost worker had."""
    queue = host_queue(host)
    return any(a.is_started and a.queue == queue for a in sight.activities.values())
