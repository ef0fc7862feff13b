"""What a run asks of its activities, made from its plan and where it stands."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from branchwork.contract import AttemptRequest, BaseRequest, LandRequest, Need, RunRequest
from branchwork.names import bad_run_id
from branchwork.plan import Step


def refusal(run: str, request: RunRequest) -> str | None:
    """Why this request cannot run, as far as it shows without its repository."""
    if wrong := bad_run_id(run):
        return f"the run's id {wrong}"
    undefined = request.plan.undefined_agents()
    return undefined[0].text if undefined else None


def base_request(run: str, request: RunRequest) -> BaseRequest:
    return BaseRequest(
        run=run,
        repository=request.repository,
        revision=request.base or request.plan.base or "HEAD",
        requires=request.plan.graph.from_base,
        creates=tuple(path for step in request.plan.steps for path in step.creates),
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
        base=base,
        needs=needs,
        params=merged_params(request),
    )


def too_much(needs: tuple[Need, ...], most_bytes: int) -> str | None:
    """What is wrong with outputs that together are too large to be handed on."""
    size = sum(len(need.model_dump_json().encode()) for need in needs if need.output)
    if size <= most_bytes:
        return None
    return (
        f"the outputs of {len(needs)} steps take {size:,} bytes, and {most_bytes:,} can be handed"
        " on; let them leave files in their worktrees instead"
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
