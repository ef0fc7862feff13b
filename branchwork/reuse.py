"""What a new run takes over of one that ended, and what it does again.

Pure: decided from what the old run was asked, how it ended, and what the new one is asked.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from branchwork.contract import Reused, RunRequest
from branchwork.errors import RefusedError
from branchwork.outcomes import Outcome, RunReport, StepReport
from branchwork.plan import Plan, Step
from branchwork.problems import nearest
from branchwork.progress import verb
from branchwork.requests import merged_params

_NO_INPUTS = frozenset({"id", "needs", "optional", "retry", "timeout", "total"})
"""How long and how often a step is tried, and what its end means for the run, change no success;
what it needs is compared as the graph has it. Every other key of a step counts."""

_MOST_LINES = 40


class Past(NamedTuple):
    """A run that ended."""

    request: RunRequest
    report: RunReport


class Rerun(NamedTuple):
    """A step that the new run does itself."""

    step: str
    why: str
    again: bool = True
    """Whether the old run had done it, or tried to."""
    follows: bool = False
    """Whether the only reason is another step that runs."""

    @property
    def sentence(self) -> str:
        return f"step {self.step!r} runs{' again' if self.again else ''}: {self.why}"


class Again(NamedTuple):
    """A run to start after another."""

    request: RunRequest
    """With the results that are taken over."""
    reruns: tuple[Rerun, ...]
    """In plan order."""
    common: str | None = None
    """Why nothing at all is taken over, if it is one reason for all steps."""

    def sentences(self, old: str) -> Iterator[str]:
        """What is taken over of run `old`, and which step runs again and why: causes first."""
        yield f"taken over from {old}: {len(self.request.reuse)} of {self._total} steps"
        if self.common:
            yield f"every step runs again: {self.common}"
            return
        reruns = sorted(self.reruns, key=lambda rerun: rerun.follows)
        yield from (rerun.sentence for rerun in reruns[:_MOST_LINES])
        if (more := len(reruns) - _MOST_LINES) > 0:
            yield f"… and {more} more steps run"

    @property
    def _total(self) -> int:
        return len(self.request.plan.steps)


def retried(past: Past, named: Collection[str] = ()) -> Again:
    """The same run, from where it failed; `named` steps also if they succeeded.

    Raises RefusedError for a step that the run does not have, and where nothing is left to do.
    """
    run, plan = past.report.run, past.request.plan
    for step in named:
        if step not in plan.by_id:
            raise RefusedError(
                f"run {run} has no step {step!r}{nearest(step, plan.by_id)};"
                f" see `branchwork status {run}`"
            )
    base = past.report.base or past.request.base
    again = reusing(past, past.request.model_copy(update={"base": base}), named)
    if not again.reruns and past.report.outcome is Outcome.SUCCEEDED:
        raise RefusedError(
            f"every step of run {run} succeeded, so there is nothing to do again; name the steps"
            f" that shall run again: `branchwork retry {run} STEP`"
        )
    return again


def reusing(past: Past, request: RunRequest, named: Collection[str] = ()) -> Again:
    """`request`, taking over what it can of `past`.

    A step that succeeded is taken over if nothing that could change its result is another
    than it was, and all that it needs is taken over too. `request.base` is to be a commit;
    None, with none in the plan, is that of `past`.
    """
    if request.base is None and request.plan.base is None:
        request = request.model_copy(update={"base": past.report.base})
    reports = {report.step: report for report in past.report.steps}
    reruns: dict[str, Rerun] = {}
    common = _common_change(past, request)
    for step in _by_need(request.plan):
        why = "it was named" if step.id in named else common
        why = why or _own_reason(step, past.request.plan, request.plan, reports.get(step.id))
        need = next((need for need in request.plan.graph.needs[step.id] if need in reruns), None)
        if why or need:
            reruns[step.id] = Rerun(
                step.id,
                why or f"it needs {need!r}, which runs",
                again=_was_tried(reports.get(step.id)),
                follows=not why,
            )
    return Again(_taking(request, past, reruns, reports), _in_order(request.plan, reruns), common)


def _by_need(plan: Plan) -> Iterator[Step]:
    """Every step after those that it needs."""
    return (plan.by_id[step] for level in plan.graph.levels for step in level)


def _in_order(plan: Plan, reruns: Mapping[str, Rerun]) -> tuple[Rerun, ...]:
    return tuple(reruns[step.id] for step in plan.steps if step.id in reruns)


def _taking(
    request: RunRequest,
    past: Past,
    reruns: Collection[str],
    reports: Mapping[str, StepReport],
) -> RunRequest:
    taken = [reports[step.id] for step in request.plan.steps if step.id not in reruns]
    reused = tuple(
        Reused(
            step=report.step,
            commit=report.result or "",
            run=report.reused or past.report.run,
            base=report.base,
            output=report.output,
        )
        for report in taken
    )
    return request.model_copy(update={"reuse": reused})


def _common_change(past: Past, request: RunRequest) -> str | None:
    """What changed for every step."""
    if request.repository != past.request.repository:
        return f"run {past.report.run} is of another repository, {past.request.repository}"
    old, new = merged_params(past.request), merged_params(request)
    names = {**old, **new}
    if changed := [
        name for name in names if name not in old or name not in new or old[name] != new[name]
    ]:
        return f"the {_listed('parameter', changed)} changed"
    base = request.base or request.plan.base
    if past.report.base and base != past.report.base:
        return f"the base changed from {past.report.base[:10]} to {str(base)[:10]}"
    return None


def _own_reason(step: Step, old: Plan, new: Plan, report: StepReport | None) -> str | None:
    """Why a step cannot be taken over, its needs apart."""
    if step.id not in old.by_id or report is None:
        return "it is new"
    changes = _changes(step.id, old, new)
    changed = f"its {_and(changes)} changed" if changes else None
    if report.outcome is not Outcome.SUCCEEDED:
        ended = f"it {verb(report.outcome)}" if _was_tried(report) else "it had not run"
        return f"{ended}, and {changed}" if changed and _was_tried(report) else ended
    if report.result is None or report.reason:
        # Reports that would be too large leave out outputs, and say so where the reason stands.
        return changed or "its output is no longer known"
    return changed


def _was_tried(report: StepReport | None) -> bool:
    return report is not None and bool(report.attempts or report.reused)


def _changes(step: str, old: Plan, new: Plan) -> list[str]:
    """The keys of a step's inputs that differ."""
    before, after = _inputs(step, old), _inputs(step, new)
    return [key for key in after if before[key] != after[key]]


def _inputs(name: str, plan: Plan) -> dict[str, object]:
    """What a step's result depends on, its base and parameters apart, by its keys in the plan."""
    step = plan.by_id[name]
    keys = (key for key in type(step).model_fields if key not in _NO_INPUTS)
    agent = None if step.run is not None else plan.agent_of(step)
    return {
        **{key: getattr(step, key) for key in keys},
        # Its labels are the step's where that has none.
        "agent": (step.agent, agent and agent.model_copy(update={"runs_on": None})),
        "runs_on": frozenset(plan.labels_of(step)),
        "expect": step.expected,
        "needs": frozenset(plan.graph.needs[name]),
    }


def _listed(word: str, names: list[str]) -> str:
    return f"{word}{'s' if len(names) > 1 else ''} {_and([repr(name) for name in names])}"


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
