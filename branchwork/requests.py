"""What a run asks of its activities, made from its plan and where it stands."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from branchwork.contract import (
    LABELS_MEMO,
    PLAN_MEMO,
    REPOSITORY_MEMO,
    REQUEST_MEMO,
    AttemptRequest,
    BaseRequest,
    LandRequest,
    Need,
    RunRequest,
)
from branchwork.labels import Labels
from branchwork.limits import too_large, too_many_paths
from branchwork.names import bad_run_id
from branchwork.plan import Plan, Step


def refusal(run: str, request: RunRequest) -> str | None:
    """Why this request cannot run, as far as it shows without its repository."""
    if wrong := bad_run_id(run):
        return f"the run's id {wrong}"
    if undefined := request.plan.undefined_agents():
        return undefined[0].text
    # A request that another client started has not been looked at yet.
    wrong = too_large(request) or too_many_paths(base_request(run, request))
    return wrong or next(_wrong_reuse(request), None)


def _wrong_reuse(request: RunRequest) -> Iterator[str]:
    taken_over = {reused.step for reused in request.reuse}
    for step in (reused.step for reused in request.reuse):
        if step not in request.plan.by_id:
            yield f"a result of step {step!r} is to be taken over, which the plan does not define"
            continue
        for need in request.plan.graph.needs[step]:
            if need not in taken_over:
                yield (
                    f"the result of step {step!r} is to be taken over, and that of {need!r}, which"
                    " it needs, is not"
                )


def base_request(run: str, request: RunRequest) -> BaseRequest:
    return BaseRequest(
        run=run,
        repository=request.repository,
        revision=request.base or request.plan.base or "HEAD",
        requires=request.plan.graph.from_base,
        creates=tuple(path for step in request.plan.steps for path in step.creates),
        reuse=tuple(Need(step=reused.step, commit=reused.commit) for reused in request.reuse),
    )


def attempt_request(  # noqa: PLR0913  # the last three by name
    run: str, request: RunRequest, step: Step, *, attempt: int, base: str, needs: tuple[Need, ...]
) -> AttemptRequest:
    agent = request.plan.agent_of(step)
    if agent is None:
        raise AssertionError(f"step {step.id!r} was started without an agent")
    return AttemptRequest(
        run=run,
        repository=request.repository,
        step=step,
        agent=agent,
        attempt=attempt,
        labels=request.plan.labels_of(step),
        base=base,
        needs=needs,
        params=merged_params(request),
    )


def land_request(
    run: str, request: RunRequest, *, base: str, leaves: tuple[Need, ...]
) -> LandRequest:
    return LandRequest(run=run, repository=request.repository, base=base, leaves=leaves)


def merged_params(request: RunRequest) -> Mapping[str, Any]:
    """The plan's, and those of the request over them."""
    return {**request.plan.params, **request.params}


def digest(request: RunRequest) -> str:
    """Tells one request from another."""
    return sha256(request.model_dump_json().encode()).hexdigest()


def memo_of(request: RunRequest) -> dict[str, Any]:
    """What lists show of a run without asking its worker."""
    return {
        PLAN_MEMO: request.plan.plan,
        REPOSITORY_MEMO: request.repository,
        REQUEST_MEMO: digest(request),
        LABELS_MEMO: needed_labels(request.plan),
    }


def needed_labels(plan: Plan) -> list[Labels]:
    """Each set of labels that a worker must have for some step; not the empty one. Sorted."""
    return sorted({labels for step in plan.steps if (labels := plan.labels_of(step))})
