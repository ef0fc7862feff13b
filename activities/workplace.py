"""Where an attempt works on this host: its worktree, its record, its refs.

Blocking calls, each safe to do twice; an attempt makes them in threads.
"""

from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from typing import Any

from activities.keeping import Kept, keep_work
from activities.merges import Side, merge_sides
from activities.publishing import Turn, Work, publish, trailers_of
from activities.records import (
    Record,
    last_record,
    read_record,
    remove_partial,
    write_record,
)
from activities.repositories import repository_of
from activities.results import lost_commits_named
from activities.revisions import resolve_commit
from activities.worktrees import add_worktree, find_entry, remove_worktree
from branchwork.contract import AttemptRequest
from branchwork.names import StateFolder, base_ref, step_ref


class Workplace:
    def __init__(
        self,
        request: AttemptRequest,
        state: StateFolder,
        *,
        host: str,
        workflow_run: str,
        record: Record | None = None,
    ) -> None:
        self._request = request
        self._state = state
        self._record = record or Record(
            workflow_run=workflow_run, host=host, request=request, started_at=datetime.now(UTC)
        )
        self._repository = repository_of(request.repository, state)
        self.repository = self._repository.folder
        self.worktree = state.worktree(request.run, request.step.id)
        self.folder = state.attempt(request.run, request.step.id, request.attempt)

    @property
    def started_at(self) -> datetime:
        """When this attempt began on this host, in whichever turn."""
        return self._record.started_at

    def known(self) -> Record | None:
        """What an earlier turn of this attempt left on record here."""
        known = read_record(self.folder)
        is_ours = known and known.workflow_run == self._record.workflow_run
        return known if is_ours else None

    def go_on_from(self, known: Record) -> None:
        """With what `known` tells, as this turn's."""
        self._record = known.model_copy(update={"request": self._request})

    def make(self) -> str:
        """A worktree at the merge of what the step needs; that commit. Raises MergeConflict."""
        self._bring()
        message = f"branchwork: base of {self._request.step.id}"
        with self._lost_commits_named():
            base = merge_sides(self.repository, self._request.base, self._sides, message)
            self.record(base=base)
            add_worktree(self.repository, self.worktree, base)
        return base

    def _bring(self) -> None:
        """What other hosts made of it."""
        run = self._request.run
        needs = {step_ref(run, need.step): need.commit for need in self._request.needs}
        self._repository.bring(run, {base_ref(run): self._request.base, **needs})

    @property
    def _sides(self) -> list[Side]:
        return [Side(need.step, need.commit) for need in self._request.needs]

    def _lost_commits_named(self) -> AbstractContextManager[None]:
        request = self._request
        return lost_commits_named(self.repository, request.run, request.base, self._sides)

    def record(self, **changes: Any) -> None:
        """Write down how far it came; see Record."""
        self._record = self._record.model_copy(update=changes)
        write_record(self.folder, self._record)

    def keep(self, base: str, when: datetime) -> Kept:
        """Commit what stands in the worktree; on no ref yet."""
        step = self._request.step
        return keep_work(
            self.repository,
            self.worktree,
            base,
            message=_message(self._request),
            author=step.agent_name,
            when=when,
            creates=step.creates,
        )

    def keep_commits(self, base: str) -> None:
        """Of an agent that removed its worktree: what it had committed before is still there."""
        if commit := self._last_commit():
            self.publish(base, Kept(commit), succeeded=False)

    def _last_commit(self) -> str | None:
        entry = find_entry(self.repository, self.worktree)
        return resolve_commit(self.repository, f"worktrees/{entry.name}/HEAD") if entry else None

    def keep_late(self, base: str, when: datetime) -> str | None:
        """Keep what nobody goes on with, whoever has kept other work of the attempt meanwhile.

        The ref that holds it; None if there was no work.
        """
        if self.worktree.is_dir():
            kept = self.keep(base, when)
        else:
            kept = Kept(self._last_commit() or base)
        return publish(self._repository, self._work(base, kept, is_late=True))

    def publish(self, base: str, kept: Kept, *, succeeded: bool) -> str | None:
        """Put the work on the attempt's ref and, for a success, on the step's.

        The ref that keeps it; None if there was no work. Raises GitError, transient where
        a remote cannot be reached: then this host keeps it, and it may be called again.
        """
        with self._lost_commits_named():
            return publish(self._repository, self._work(base, kept, succeeded=succeeded))

    def _work(
        self, base: str, kept: Kept, *, succeeded: bool = False, is_late: bool = False
    ) -> Work:
        request = self._request
        return Work(
            run=request.run,
            step=request.step.id,
            turn=Turn(request.attempt, request.turn),
            commit=kept.commit,
            left=kept.left,
            has_work=kept.commit != base or bool(kept.left),
            succeeded=succeeded,
            is_late=is_late,
        )

    def last(self) -> "Workplace | None":
        """Of the step's last attempt that was here; this one, or one before it."""
        record = last_record(self._state.attempts(self._request.run, self._request.step.id))
        return recorded(record, self._state) if record else None

    def keep_leftover(self, now: datetime) -> None:
        """Keep, then remove, what this attempt left here when its worker died."""
        known = read_record(self.folder)
        if known and known.base and known.began:
            self.publish(known.base, self.keep(known.base, now), succeeded=False)
        self.remove()

    def remove(self) -> None:
        """Whatever the worktree held is on a ref, or nothing was at work there yet."""
        remove_worktree(self.repository, self.worktree, self._state.trash)
        remove_partial(self.folder)
        with suppress(OSError):
            # Others of the run may still be there; the last one takes the folder along.
            self.worktree.parent.rmdir()


def recorded(record: Record, state: StateFolder) -> Workplace:
    """Where the recorded attempt worked."""
    return Workplace(
        record.request,
        state,
        host=record.host,
        workflow_run=record.workflow_run,
        record=record,
    )


def _message(request: AttemptRequest) -> str:
    step = request.step
    subject = f"{step.id}: {step.action or step.agent_name}"
    return f"{subject}\n\n{trailers_of(request)}"
