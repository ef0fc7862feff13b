"""What is left out of reports that are too large to send."""

from collections.abc import Container, Iterable

from branchwork.limits import size_of
from branchwork.outcomes import RunReport, StepReport

_LONGEST_REASONS = (200, 0)
"""What is left of a reason: first this much of the largest, then, if that is not enough, that."""

_LEFT_OUT = "[more was left out: the run's report would be too large]"


def bounded(report: RunReport, most_bytes: int) -> RunReport:
    """`report`, without its largest outputs, paths and reasons if it is too large to send.

    What was left out of a step is said in its reason; the commits still hold all of it.
    If that is not enough, no step is told of at all.
    """
    size = size_of(report)
    if size <= most_bytes:
        return report
    rest = size - sum(map(size_of, report.steps))
    steps = lightened(report.steps, most_bytes - rest)
    lighter = report.model_copy(update={"steps": steps})
    return lighter if size_of(lighter) <= most_bytes else report.model_copy(update={"steps": ()})


def lightened(
    steps: Iterable[StepReport], most_bytes: int, spared: Container[str] = ()
) -> tuple[StepReport, ...]:
    """`steps` in no more than that if it can be: the largest but the spared lose what is large."""
    found = list(steps)
    for longest_reason in _LONGEST_REASONS:
        weights = list(map(size_of, found))
        size = sum(weights)
        for index in sorted(range(len(found)), key=weights.__getitem__, reverse=True):
            if size <= most_bytes:
                return tuple(found)
            if found[index].step not in spared:
                found[index] = _lightened(found[index], longest_reason)
                size -= weights[index] - size_of(found[index])
    return tuple(found)


def _lightened(step: StepReport, longest_reason: int) -> StepReport:
    reason = (step.reason or "")[:longest_reason]
    if step.output is None and not step.changed and reason == (step.reason or ""):
        return step
    told = f"{reason} {_LEFT_OUT}".strip()
    return step.model_copy(update={"output": None, "changed": (), "reason": told})
