"""What is measured, and its labels: agents, actions and outcomes, never runs or steps."""

from opentelemetry.metrics import MeterProvider

from branchwork.contract import AttemptEnd, AttemptRequest


class Metrics:
    """Instruments of a worker."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("branchwork")
        self._duration = meter.create_histogram(
            "branchwork.attempt.duration", "s", "From the start of an attempt to its end"
        )
        self._worktree = meter.create_histogram(
            "branchwork.worktree.duration", "s", "Time to make a worktree, the merge included"
        )
        self._running = meter.create_up_down_counter(
            "branchwork.attempt.running", "{attempt}", "Attempts running on this worker"
        )

    def started(self) -> None:
        self._running.add(1)

    def ended(self, request: AttemptRequest, end: AttemptEnd) -> None:
        """Where an attempt ends; `branchwork.last` tells whether the step ended with it."""
        self._running.add(-1)
        bad = end.outcome not in ("succeeded", "cancelled")
        again = bad and end.again and request.attempt < request.step.retry.attempts
        self._duration.record(
            (end.ended_at - end.started_at).total_seconds(),
            {
                "branchwork.agent": request.step.agent_name,
                "branchwork.action": request.step.action or "",
                "branchwork.outcome": end.outcome.value,
                "branchwork.last": not again,
            },
        )

    def raised(self) -> None:
        """An attempt left without an end, for Temporal to try again."""
        self._running.add(-1)

    def worktree_made(self, seconds: float) -> None:
        self._worktree.record(seconds)
