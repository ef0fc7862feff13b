"""What a run asks of its activities, made from its plan and where it stands."""

from collections.abc import Container, Iterator, Mapping
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
from branchwork.names import bad_run_id
from branchwork.plan import Plan, Step

MOST_REQUEST_BYTES = 1_500_000
"""Temporal refuses payloads over 2 MB."""


def refusal(run: str, request: RunRequest) -> str | None:
    """Why this request cannot run, as far as it shows without its repository."""
    if wrong := bad_run_id(run):
        return f"the run's id {wrong}"
    if undefined := request.plan.undefined_agents():
        return undefined[0].text
    return next(_wrong_reuse(request), None)


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


def too_much(needs: tuple[Need, ...], lost: Container[str], most_bytes: int) -> str | None:
    """What is wrong with outputs that together are, or were, too large to be handed on."""
    for need in needs:
        if need.step in lost:
            return (
                f"the output of {need.step!r} was left out when the run's long history was"
                " continued in a new one; let it leave a file in its worktree instead"
            )
    size = sum(len(need.model_dump_json().encode()) for need in needs if need.output)
    if size <= most_bytes:
        return None
    return (
        f"the outputs of {len(needs)} steps take {size:,} bytes, and {most_bytes:,} can be handed"
        " on; let them leave files in their worktrees instead"
    )


def too_large(request: RunRequest) -> str | None:
    """What is wrong with a request that Temporal would not carry."""
    size = len(request.model_dump_json().encode())
    if size <= MOST_REQUEST_BYTES:
        return None
    advice = "shorten prompts or split it"
    if not request.reuse:
        return (
            f"the plan takes {size:,} bytes, and Temporal carries {MOST_REQUEST_BYTES:,}; {advice}"
        )
    return (
        f"the plan and the results to be taken over take {size:,} bytes, and Temporal carries"
        f" {MOST_REQUEST_BYTES:,}; {advice}, or name steps with large outputs to run again"
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
