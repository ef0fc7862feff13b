"""The end of an attempt: what its agent left is judged, kept, published and put on record."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from activities.agents.base import Agent, AgentEnd
from activities.blocking import Blocking, shielded
from activities.git_faults import GitError, while_under_way
from activities.keeping import Kept, judge_paths
from activities.metrics import Metrics
from activities.pulse import Beating
from activities.workplace import Workplace
from branchwork.contract import AttemptEnd, AttemptRequest
from branchwork.judging import judge
from branchwork.outcomes import Outcome

CLOSING_SECONDS = 600
"""Bound on all of it; on a slow disk it takes long."""
PAUSES_SECONDS = (1, 2, 4, 8, 15, 30)
"""Between the tries of what fails for a passing reason. Another turn may be another host's,
where the agent would have to work once more."""
_LONGEST_AFTER_CANCEL = 2
"""Of these pauses."""
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Surroundings:
    """What an attempt needs of its worker."""

    agent: Agent
    blocking: Blocking
    heart: Beating
    metrics: Metrics
    first_scheduled_at: datetime
    """When Temporal scheduled this turn's first try."""
    is_cancelled: Callable[[], bool]
    cancel_is_wanted: Callable[[], bool]
    """Whether a cancel means that the step shall end; if not, a later turn goes on."""


class Closing:
    """Each part of it may be done twice: the same work is the same commit, on the same refs."""

    def __init__(self, request: AttemptRequest, place: Workplace, around: Surroundings) -> None:
        self._request = request
        self._place = place
        self._around = around

    async def closed(self, base: str, agent_end: AgentEnd | None, *, is_last: bool) -> AttemptEnd:
        """The end, once the work is kept; None is the end of an agent that was cancelled.

        No cancel breaks it off. Only the last try of an attempt leaves its end behind.
        """
        work = self._persistently(base, agent_end, is_last=is_last)
        return await shielded(work, CLOSING_SECONDS)

    async def _persistently(
        self, base: str, agent_end: AgentEnd | None, *, is_last: bool
    ) -> AttemptEnd:
        for pause in PAUSES_SECONDS:
            try:
                return await self._around.blocking(self._close, base, agent_end, is_last=is_last)
            except GitError as error:
                fault = while_under_way(error)
                # Nobody who cancels waits for a disk: a later turn or the janitor keeps it then.
                is_enough = pause > _LONGEST_AFTER_CANCEL and self._around.is_cancelled()
                if is_enough or not fault.transient:
                    raise
                self._around.heart.phase(f"keeping, again in {pause} s: {fault.name}: {fault}")
            await self._pause(pause)
        return await self._around.blocking(self._close, base, agent_end, is_last=is_last)

    async def _pause(self, seconds: float) -> None:
        """Shorter once a cancel came: no exception tells of it in here."""
        until = time.monotonic() + seconds
        while (  # noqa: ASYNC110  # no event is given to us
            left := until - time.monotonic()
        ) > 0 and not self._around.is_cancelled():
            await asyncio.sleep(min(left, _LOOK_SECONDS))

    def _close(self, base: str, agent_end: AgentEnd | None, *, is_last: bool) -> AttemptEnd:
        kept = self._keep(base)
        end = self._judged(base, kept, agent_end)
        succeeded = end.outcome is Outcome.SUCCEEDED
        ref = self._place.publish(base, kept, succeeded=succeeded)
        if not succeeded:
            end = end.model_copy(update={"kept": ref})
        if is_last:
            self._place.record(end=end)
        else:
            self._place.record(began=False, agent_end=None)
        return end

    def _keep(self, base: str) -> Kept:
        try:
            return self._place.keep(base, self._place.started_at)
        except GitError:
            if not self._place.worktree.exists():
                self._place.keep_commits(base)
            raise

    def _judged(self, base: str, kept: Kept, agent_end: AgentEnd | None) -> AttemptEnd:
        if agent_end is None:
            return self.end(Outcome.CANCELLED, "Cancelled", base, kept)
        if not agent_end.ok:
            outcome = Outcome.TIMED_OUT if agent_end.timed_out else Outcome.FAILED
            reason = f"{agent_end.name}: {agent_end.text}"
            end = self.end(outcome, reason, base, kept)
            return end.model_copy(update={"again": agent_end.again})
        paths = judge_paths(self._place.repository, base, kept.commit, self._request.step.creates)
        verdict = judge(
            self._request.step,
            changed=kept.changed,
            missing=paths.missing,
            unchanged=paths.unchanged,
        )
        if verdict:
            return self.end(Outcome.FAILED, f"{verdict.name}: {verdict.text}", base, kept)
        end = self.end(Outcome.SUCCEEDED, None, base, kept)
        return end.model_copy(update={"output": agent_end.output})

    def end(
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
            started_at=self._place.started_at,
            ended_at=datetime.now(UTC),
        )
