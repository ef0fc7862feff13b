"""What an attempt asks of its agent, made from its request."""

from temporalio.exceptions import ApplicationError

from activities.agents.base import AgentWork
from activities.workplace import Workplace
from branchwork.contract import AttemptRequest
from branchwork.prompts import BadPromptError, render_prompt


def agent_work(request: AttemptRequest, place: Workplace) -> AgentWork:
    """Raises ApplicationError, not to be retried, for a prompt that cannot be made."""
    step = request.step
    return AgentWork(
        run=request.run,
        step=step.id,
        agent=step.agent_name,
        action=step.action or "",
        attempt=request.attempt,
        worktree=place.worktree,
        folder=place.folder,
        prompt=_prompt(request),
        creates=step.creates,
        params=request.params,
        outputs=_outputs(request),
        environment={**request.agent.env, **step.env},
        timeout=step.timeout,
        stall=step.stall,
    )


def _prompt(request: AttemptRequest) -> str:
    """Raises ApplicationError, not to be retried, for one that cannot be made."""
    step = request.step
    values = {
        "run": request.run,
        "step": step.id,
        "agent": step.agent_name,
        "action": step.action or "",
        "attempt": request.attempt,
        "creates": step.creates,
        "requires": step.requires,
        "params": request.params,
        "outputs": _outputs(request),
    }
    try:
        return render_prompt(step.prompt or "", values)
    except BadPromptError as error:
        raise ApplicationError(str(error), type="BadPrompt", non_retryable=True) from error


def _outputs(request: AttemptRequest) -> dict[str, object]:
    return {need.step: need.output or {} for need in request.needs}
