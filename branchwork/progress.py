"""Where a run stands: one report a step, changed as steps move on.

Pure: it decides what is ready, stranded and succeeded; the workflow waits and acts.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from branchwork.contract import AttemptEnd, Need, Reused
from branchwork.outcomes import Outcome, Status, StepReport
from branchwork.plan import OnFailure, Plan, Step

_VERBS = {
    Outcome.FAILED: "failed",
    Outcome.TIMED_OUT: "timed out",
    Outcome.CANCELLED: "was cancelled",
    Outcome.SKIPPED: "was skipped",
}


class Progress:
    """The reports of a run's steps, in plan order."""

    def __init__(self, plan: Plan, reuse: Iterable[Reused] = ()) -> None:
        self._plan = plan
        taken_over = {reused.step: reused for reused in reuse}
        self._reports = {step.id: _first(step, taken_over.get(step.id)) for step in plan.steps}
        # Kept up to date: counting 2,000 steps at the end of each would be four million looks.
        self._counts = Counter(report.status for report in self._reports.values())

    def __getitem__(self, step: str) -> StepReport:
        return self._reports[step]

    @property
    def reports(self) -> tuple[StepReport, ...]:
        return tuple(self._reports.values())

    def has_ended(self, step: str) -> bool:
        return self._reports[step].outcome is not None

    def ready(self, among: Iterable[str]) -> list[Step]:
        """Those still waiting whose needs have all succeeded, in the order given."""
        return [self._plan.by_id[step] for step in among if self._is_ready(step)]

    def freed_by(self, step: str) -> list[Step]:
        """Steps that `step` was the last to hold back, in plan order."""
        return self.ready(self._plan.graph.dependents[step])

    def move(self, step: str, status: Status, **changes: Any) -> None:
        """`step` now stands at `status`; an ended one stays as it ended."""
        if not self.has_ended(step):
            self._change(step, status=status, **changes)

    def begin(self, step: str, attempt: int, now: datetime) -> None:
        """An attempt of `step` has its slot; what is known of the one before is no longer its."""
        self.move(
            step,
            Status.RUNNING,
            attempts=attempt,
            started_at=now,
            reason=None,
            kept=None,
            changed=(),
        )

    def back_off(self, step: str, end: AttemptEnd) -> None:
        """An attempt ended so; if no other comes, its work is what there is of the step."""
        told = end.model_dump(include={"base", "result", "reason", "kept", "changed"})
        self.move(step, Status.BACKING_OFF, **told)

    def end(self, step: str, end: AttemptEnd) -> None:
        """`step` ended as its last attempt did; whoever waits for it in vain is skipped."""
        fields = end.model_dump(exclude={"again", "started_at"}, exclude_none=True)
        self._change(step, **{"reason": None, **fields}, status=None)
        self._strand(step)

    def end_without_attempt(self, step: str, outcome: Outcome, reason: str, now: datetime) -> None:
        """`step` ended between or before its attempts."""
        self._change(step, outcome=outcome, status=None, reason=reason, ended_at=now)
        self._strand(step)

    def skip_waiting(self, reason: str) -> None:
        """Nothing more is started: whoever waits for a need is skipped."""
        for step, report in self._reports.items():
            if report.status is Status.WAITING:
                self._skip(step, reason)

    def restore(self, reports: Iterable[StepReport]) -> None:
        """Stand where the run stood before its history was continued in a new one."""
        for report in reports:
            self._put(report)

    def needs_of(self, step: str) -> tuple[Need, ...]:
        """What the step starts from, in plan order; all its needs must have succeeded."""
        return tuple(self._handed_on(need) for need in self._plan.graph.needs[step])

    def leaves(self) -> tuple[Need, ...]:
        """What no other success builds on: merged, they hold all that succeeded."""
        return tuple(
            self._handed_on(step).model_copy(update={"output": None})
            for step in self._reports
            if self._succeeded(step)
            and not any(map(self._succeeded, self._plan.graph.dependents[step]))
        )

    def moved(self) -> tuple[StepReport, ...]:
        """Reports of the steps of which there is something to tell."""
        return tuple(step for step in self._reports.values() if step.status is not Status.WAITING)

    def begun(self) -> list[Step]:
        """Steps whose needs are done and that have not ended."""
        waiting_or_ended = (Status.WAITING, None)
        return [step for step in self._plan.steps if self[step.id].status not in waiting_or_ended]

    def needed(self) -> frozenset[str]:
        """Steps that succeeded and whose outputs others still wait for."""
        return frozenset(
            step
            for step in self._reports
            if self._succeeded(step)
            and not all(map(self.has_ended, self._plan.graph.dependents[step]))
        )

    def missed(self) -> list[str]:
        """Steps that ended without success although the run cannot succeed without them."""
        return [
            step.id
            for step in self._plan.steps
            if not step.optional and self.has_ended(step.id) and not self._succeeded(step.id)
        ]

    def failure_reason(self) -> str | None:
        """Why the run has not succeeded, as far as its steps tell."""
        told = [
            step for step in self.missed() if self._reports[step].outcome is not Outcome.SKIPPED
        ]
        if not (missed := told or self.missed()):
            return None
        first = self._reports[missed[0]]
        others = f" (and {len(missed) - 1} more)" if len(missed) > 1 else ""
        return f"step {first.step!r}{others} {verb(first.outcome)}: {first.reason}"

    def stops_the_run(self, step: str) -> bool:
        """Whether this step's end is one for which the plan stops everything."""
        return (
            self._plan.on_failure is OnFailure.STOP
            and not self._plan.by_id[step].optional
            and self._reports[step].outcome in (Outcome.FAILED, Outcome.TIMED_OUT)
        )

    def counts(self) -> str:
        """`3 of 7 steps ended, 2 running`."""
        running = self._counts[Status.RUNNING]
        return f"{self._counts[None]} of {len(self._reports)} steps ended, {running} running"

    def _is_ready(self, step: str) -> bool:
        return self._reports[step].status is Status.WAITING and all(
            map(self._succeeded, self._plan.graph.needs[step])
        )

    def _succeeded(self, step: str) -> bool:
        return self._reports[step].outcome is Outcome.SUCCEEDED

    def _handed_on(self, step: str) -> Need:
        report = self._reports[step]
        if report.result is None:
            raise ValueError(f"step {step!r} has no result to hand on: {report.outcome}")
        return Need(step=step, commit=report.result, output=report.output)

    def _strand(self, step: str) -> None:
        """Skip, transitively, whoever needs `step`, if it did not succeed."""
        outcome = self._reports[step].outcome
        if outcome is None or outcome is Outcome.SUCCEEDED:
            return
        left = [step]
        while left:
            need = left.pop(0)
            for dependent in self._plan.graph.dependents[need]:
                if not self.has_ended(dependent):
                    self._skip(dependent, f"it needs {need!r}, which {verb(self[need].outcome)}")
                    left.append(dependent)

    def _skip(self, step: str, reason: str) -> None:
        self._change(step, outcome=Outcome.SKIPPED, status=None, reason=f"Skipped: {reason}")

    def _change(self, step: str, **changes: Any) -> None:
        self._put(self._reports[step].model_copy(update=changes))

    def _put(self, report: StepReport) -> None:
        self._counts[self._reports[report.step].status] -= 1
        self._reports[report.step] = report
        self._counts[report.status] += 1


def _first(step: Step, reused: Reused | None) -> StepReport:
    """How a step stands when its run begins."""
    report = StepReport(step=step.id, agent=step.agent_name, status=Status.WAITING)
    if reused is None:
        return report
    return report.model_copy(
        update={
            "status": None,
            "outcome": Outcome.SUCCEEDED,
            "base": reused.base,
            "result": reused.commit,
            "output": reused.output,
            "reused": reused.run,
        }
    )


def verb(outcome: Outcome | None) -> str:
    """`failed`, `timed out`, `was cancelled`: how a sentence tells an outcome."""
    return _VERBS.get(outcome, "succeeded") if outcome else "has not ended"
