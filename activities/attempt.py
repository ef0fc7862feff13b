"""One attempt of one step, on one host: worktree, agent, judging, keeping, removing.

The order is what keeps work safe: nothing is removed before it is on a ref.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

from temporalio.exceptions import ApplicationError

from activities.agents.asking import agent_work
from activities.agents.base import AgentEnd, Watch, marker_of
from activities.blaming import blamed_on_disk
from activities.blocking import shielded
from activities.closing import Closing, Surroundings
from activities.git_faults import GitError, while_under_way
from activities.records import Record
from activities.sweeping import sweep
from activities.workplace import Workplace
from branchwork.contract import (
    AGENT_PHASE,
    WORK_HELD,
    WORKER_SHUTDOWN,
    AttemptEnd,
    AttemptRequest,
)
from branchwork.outcomes import Outcome

REMOVING_SECONDS = 600
"""Bound on removing what an attempt leaves; on a slow disk it takes long."""

_log = logging.getLogger(__name__)


class Attempt:
    """One turn of it: it looks first at how far an earlier one came, on this host's disk."""

    def __init__(self, request: AttemptRequest, place: Workplace, around: Surroundings) -> None:
        self._request = request
        self._place = place
        self._around = around
        self._work = agent_work(request, place)
        self._holds_work = False
        """Whether the worktree is to stay: it holds work, or an agent that goes on."""

    async def run(self) -> AttemptEnd:
        """A cancelled attempt returns as one, once its agent is gone and its work is kept.

        Raises what Temporal shall try again: faults of the machinery, agents that
        ended for a passing reason. A turn that ends before its agent raises too, and
        leaves it running in its worktree.
        """
        self._around.heart.phase("worktree")
        known = await self._around.blocking(self._place.known)
        if known and known.end:
            self._around.agent.forget(self._work)
            if self._place.worktree.exists():
                await self._remove()
            return known.end
        try:
            async with self._worktree(known) as base:
                return await self._work_in(base, known)
        except asyncio.CancelledError as error:
            if self._around.cancel_is_wanted():
                return self._closing().end(Outcome.CANCELLED, "Cancelled")
            raise ApplicationError(
                "the worker stopped while the step ran; another turn follows",
                self._around.heart.pulse.host,
                type=WORKER_SHUTDOWN,
            ) from error

    @asynccontextmanager
    async def _worktree(self, known: Record | None) -> AsyncIterator[str]:
        """The worktree at the merge of what the step needs; gives that commit.

        It is removed in the end, but never while it holds work that is on no ref.
        """
        try:
            if known and known.base and await self._is_begun(known):
                self._holds_work = True
                self._place.go_on_from(known)
                yield known.base
            else:
                yield await self._new_worktree()
        finally:
            # Where an agent removed its worktree, only git's entry of it is left.
            if not (self._holds_work and self._place.worktree.exists()):
                await self._remove()

    async def _is_begun(self, known: Record) -> bool:
        """Whether an earlier turn's agent lives, or told its end: that is gone on with."""
        if not known.began:
            return False
        left = known.agent_end is not None
        return left or await self._around.blocking(self._around.agent.is_left, self._work)

    async def _new_worktree(self) -> str:
        if self._place.worktree.exists():
            await self._recover()
        began = time.monotonic()
        base = await self._around.blocking(self._place.make)
        self._around.metrics.worktree_made(time.monotonic() - began)
        return base

    async def _recover(self) -> None:
        """End and keep what a dead worker left here, in this attempt or the one before.

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
        await self._around.blocking(left.keep_leftover, self._place.started_at)
        self._holds_work = False

    async def _remove(self) -> None:
        """A removal that fails changes no outcome; the next try of the step finds the rest."""
        self._around.heart.phase("removing")
        try:
            await shielded(self._around.blocking(self._place.remove), REMOVING_SECONDS)
        except Exception:  # noqa: BLE001  # the outcome stands, whatever the removal does
            _log.exception("worktree %s was not removed", self._place.worktree)

    async def _work_in(self, base: str, known: Record | None) -> AttemptEnd:
        agent_end = known.agent_end if known and self._holds_work else None
        if agent_end is None:
            agent_end = await self._agent_end(goes_on=self._holds_work)
        if agent_end:
            worktree = self._place.worktree
            agent_end = await self._around.blocking(blamed_on_disk, agent_end, worktree)
        self._around.heart.phase("keeping")
        passing = agent_end if agent_end and self._is_passing(agent_end) else None
        with self._held():
            end = await self._closing().closed(base, agent_end, is_last=not passing)
        self._holds_work = False
        self._around.agent.forget(self._work)
        if passing:
            raise ApplicationError(passing.text, type=passing.name)
        return end

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Another host would have to do the work once more: this one is to be asked again."""
        try:
            yield
        except GitError as error:
            fault = while_under_way(error)
            if not fault.transient:
                raise
            host = self._around.heart.pulse.host
            raise ApplicationError(f"{fault.name}: {fault}", host, type=WORK_HELD) from None

    def _is_passing(self, agent_end: AgentEnd) -> bool:
        """Whether Temporal shall try this attempt again: as long as the step's own time lasts."""
        waited = datetime.now(UTC) - self._around.first_scheduled_at
        return agent_end.transient and waited < self._request.step.timeout

    async def _agent_end(self, *, goes_on: bool) -> AgentEnd | None:
        """None for an agent that was ended because the step was cancelled."""
        agent, heart = self._around.agent, self._around.heart
        watch = Watch(heart.line, heart.began, leave=lambda: not self._around.cancel_is_wanted())
        heart.phase(AGENT_PHASE)
        try:
            if goes_on:
                return await self._recorded(await agent.go_on(self._work, watch))
            await heart.is_sure()
            await self._around.blocking(self._place.record, began=True)
            self._holds_work = True
            return await self._recorded(await agent.work(self._work, watch))
        except asyncio.CancelledError:
            if self._around.cancel_is_wanted():
                return None
            raise

    async def _recorded(self, agent_end: AgentEnd) -> AgentEnd:
        """One that was ended at a limit leaves nothing else that tells so."""
        if agent_end.timed_out:
            await self._around.blocking(self._place.record, agent_end=agent_end)
        return agent_end

    def _closing(self) -> Closing:
        return Closing(self._request, self._place, self._around)
