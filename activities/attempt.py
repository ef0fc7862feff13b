"""One attempt of one step, on one host: worktree, agent, judging, keeping, removing.

The order is what keeps work safe: nothing is removed before it is on a ref.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio.exceptions import ApplicationError

from activities.agents.base import Agent, AgentEnd, AgentWork, marker_of
from activities.blocking import Blocking, shielded
from activities.git_faults import GitError
from activities.keeping import Kept, judge_paths
from activities.metrics import Metrics
from activities.pulse import Beating
from activities.sweeping import sweep
from activities.workplace import Workplace
from branchwork.contract import AttemptEnd, AttemptRequest
from branchwork.judging import judge
from branchwork.outcomes import Outcome
from branchwork.prompts import BadPromptError, render_prompt

CLOSING_SECONDS = 600
"""Bound on keeping, and on removing, what an attempt leaves; on a slow disk both take long."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What an attempt needs of its worker."""

    agent: Agent
    blocking: Blocking
    heart: Beating
    metrics: Metrics
    first_scheduled_at: datetime
    """When Temporal scheduled this attempt's first try."""
    cancel_is_wanted: Callable[[], bool]
    """Whether a cancel means that the step shall end; if not, another try goes on."""


class Attempt:
    """Tried once or, after a worker's death, again: it looks first at what is there."""

    def __init__(self, request: AttemptRequest, place: Workplace, around: Surroundings) -> None:
        self._request = request
        self._place = place
        self._around = around
        self._started_at = datetime.now(UTC)
        self._holds_work = False

    async def run(self) -> AttemptEnd:
        """A cancelled attempt returns as one, once its agent is gone and its work is kept.

        Raises what Temporal shall try again: faults of the machinery, agents that
        ended for a passing reason, and a worker that stops.
        """
        if end := self._place.known_end():
            return end
        try:
            async with self._worktree() as base:
                return await self._work_in(base)
        except asyncio.CancelledError as error:
            if self._around.cancel_is_wanted():
                return self._end(Outcome.CANCELLED, "Cancelled")
            raise ApplicationError(
                "the worker stopped while the step ran; another try follows",
                type="WorkerShutdown",
            ) from error

    @asynccontextmanager
    async def _worktree(self) -> AsyncIterator[str]:
        """A worktree at the merge of what the step needs; gives that commit.

        It is removed in the end, but never while it holds work that is on no ref.
        """
        try:
            if self._place.worktree.exists():
                await self._recover()
            began = time.monotonic()
            base = await self._around.blocking(self._place.make)
            self._around.metrics.worktree_made(time.monotonic() - began)
            yield base
        finally:
            if not self._holds_work:
                await self._remove()

    async def _recover(self) -> None:
        """End and keep what a worker left here when it died, in this attempt or the one before.

        Raises, not to be retried, where nothing tells what it is: it may be unsaved work.
        """
        self._holds_work = True
        left = await self._around.blocking(self._place.last)
        if left is None:
            raise ApplicationError(
                f"{self._place.worktree} holds something of which no record can be read; look"
                " whether it is needed, and move it away",
                type="WorktreeInUse",
                non_retryable=True,
            )
        await sweep(marker_of(left.folder))
        await self._around.blocking(left.keep_leftover, self._started_at)
        self._holds_work = False

    async def _remove(self) -> None:
        """A removal that fails changes no outcome; the next try of the step finds the rest."""
        self._around.heart.phase("removing")
        try:
            await shielded(self._around.blocking(self._place.remove), CLOSING_SECONDS)
        except Exception:  # noqa: BLE001  # the outcome stands, whatever the removal does
            _log.exception("worktree %s was not removed", self._place.worktree)

    async def _work_in(self, base: str) -> AttemptEnd:
        work = self._agent_work()
        await self._around.blocking(self._place.record, base, began=True)
        self._holds_work = True
        self._around.heart.phase("agent")
        try:
            agent_end = await self._around.agent.work(work, self._around.heart.line)
        except asyncio.CancelledError:
            agent_end = None
        self._around.heart.phase("keeping")
        return await shielded(self._closed(base, agent_end), CLOSING_SECONDS)

    async def _closed(self, base: str, agent_end: AgentEnd | None) -> AttemptEnd:
        """The end, once the work is kept; None is the end of an agent that was cancelled."""
        passing = self._is_passing(agent_end)
        end = await self._around.blocking(self._close, base, agent_end, is_last=not passing)
        if passing and agent_end:
            raise ApplicationError(agent_end.text, type=agent_end.name)
        if passing:
            raise asyncio.CancelledError
        return end

    def _close(self, base: str, agent_end: AgentEnd | None, *, is_last: bool) -> AttemptEnd:
        """Blocking: keep, judge, publish. Only the last try of an attempt leaves its end behind."""
        kept = self._keep(base)
        end = self._judged(base, kept, agent_end)
        succeeded = end.outcome is Outcome.SUCCEEDED
        ref = self._place.publish(base, kept, succeeded=succeeded)
        if not succeeded:
            end = end.model_copy(update={"kept": ref})
        if is_last:
            self._place.record(base, end)
        self._holds_work = False
        return end

    def _keep(self, base: str) -> Kept:
        try:
            return self._place.keep(base, self._started_at)
        except GitError:
            if not self._place.worktree.exists():
                self._place.keep_commits(base)
                self._holds_work = False
            raise

    def _is_passing(self, agent_end: AgentEnd | None) -> bool:
        """Whether Temporal shall try this attempt again: as long as the step's own time lasts."""
        if agent_end is None:
            return not self._around.cancel_is_wanted()
        waited = datetime.now(UTC) - self._around.first_scheduled_at
        return agent_end.transient and waited < self._request.step.timeout

    def _judged(self, base: str, kept: Kept, agent_end: AgentEnd | None) -> AttemptEnd:
        if agent_end is None:
            return self._end(Outcome.CANCELLED, "Cancelled", base, kept)
        if not agent_end.ok:
            outcome = Outcome.TIMED_OUT if agent_end.timed_out else Outcome.FAILED
            reason = f"{agent_end.name}: {agent_end.text}"
            end = self._end(outcome, reason, base, kept)
            return end.model_copy(update={"again": agent_end.again})
        paths = judge_paths(self._place.repository, base, kept.commit, self._request.step.creates)
        verdict = judge(
            self._request.step,
            changed=kept.changed,
            missing=paths.missing,
            unchanged=paths.unchanged,
        )
        if verdict:
            return self._end(Outcome.FAILED, f"{verdict.name}: {verdict.text}", base, kept)
        end = self._end(Outcome.SUCCEEDED, None, base, kept)
        return end.model_copy(update={"output": agent_end.output})

    def _end(
        self,
        outcome: Outcome,
        reason: str | None,
        base: str | None = None,
        kept: Kept | None = None,
    ) -> AttemptEnd:
        return AttemptEnd(
            outcome=outcome,
            reason=reason,
            base=base,
            result=kept.commit if kept else None,
            changed=kept.changed if kept else (),
            started_at=self._started_at,
            ended_at=datetime.now(UTC),
        )

    def _agent_work(self) -> AgentWork:
        request, step = self._request, self._request.step
        return AgentWork(
            run=request.run,
            step=step.id,
            agent=step.agent_name,
            action=step.action or "",
            attempt=request.attempt,
            worktree=self._place.worktree,
            folder=self._place.folder,
            prompt=_prompt(request),
            creates=step.creates,
            params=request.params,
            outputs=_outputs(request),
            environment={**request.agent.env, **step.env},
            timeout=step.timeout,
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
