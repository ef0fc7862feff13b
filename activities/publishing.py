"""An attempt's work reaches its refs, and never goes over what a later turn published.

Two hosts can be at the same step: one that was taken for lost comes back. Every commit
says by its trailers whose it is, and refs are moved by compare and set, so that whoever
comes late sees the later turn's work and puts its own aside.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from activities.git import call_git, identity
from activities.git_faults import GitError
from activities.repositories import RefStore, Repository
from activities.revisions import RefChange, RefTaken
from branchwork.contract import AttemptRequest
from branchwork.names import attempt_ref, step_ref

_MOST_LOOKS = 10
_TRAILER = re.compile(r"^Branchwork-(Run|Step|Attempt|Turn): (\S+)$", re.MULTILINE)


class Turn(NamedTuple):
    """Later ones win; compared as numbers."""

    attempt: int
    turn: int


_FIRST = Turn(1, 1)


class Work(NamedTuple):
    """What one turn of an attempt leaves behind."""

    run: str
    step: str
    turn: Turn
    commit: str
    """The base where nothing changed."""
    left: tuple[str, ...]
    """Commits of the agent that `commit` does not contain."""
    has_work: bool
    succeeded: bool = False
    is_late: bool = False
    """Whether nobody goes on with it: it then goes over nothing, even of its own turn."""

    @property
    def attempt_ref(self) -> str:
        return attempt_ref(self.run, self.step, self.turn.attempt)

    @property
    def step_ref(self) -> str:
        return step_ref(self.run, self.step)


def trailers_of(request: AttemptRequest) -> str:
    """The last paragraph of a commit's message: whose work it is."""
    return _trailers(request.run, request.step.id, Turn(request.attempt, request.turn))


def _trailers(run: str, step: str, turn: Turn) -> str:
    return (
        f"Branchwork-Run: {run}\nBranchwork-Step: {step}\n"
        f"Branchwork-Attempt: {turn.attempt}\nBranchwork-Turn: {turn.turn}\n"
    )


def publish(repository: Repository, work: Work) -> str | None:
    """Put `work` on the attempt's ref and, for a success, on the step's; safe to repeat.

    The ref that keeps it; None if there was no work. What was there of an earlier turn
    goes to a ref beside the attempt's, `<ref>.aside-<commit>`, as do the commits `left`;
    where a later turn was there, it is this work that goes aside. A step's ref may hold an
    empty commit on top of the result, where nothing else would tell its turn.
    """
    kept = None
    for store in repository.stores:
        kept = _Publishing(repository.folder, store, work).publish()
    return kept


class _Publishing:
    """Of one work in one store."""

    def __init__(self, folder: Path, store: RefStore, work: Work) -> None:
        self._folder = folder
        self._store = store
        self._work = work
        self._kept: str | None = None

    def publish(self) -> str | None:
        """Most often nobody was there before, and the first try costs no look."""
        found: Mapping[str, str] = {}
        for _ in range(_MOST_LOOKS):
            changes = [*self._on_attempt(found), *self._on_step(found)]
            try:
                self._store.publish(changes)
                return self._kept
            except RefTaken:
                found = self._store.look([self._work.attempt_ref, self._work.step_ref])
        raise GitError(
            f"refs of step {self._work.step!r} are being moved by others all the time",
            "Locked",
            transient=True,
        )

    def _on_attempt(self, found: Mapping[str, str]) -> list[RefChange]:
        if not self._work.has_work:
            return []
        ref = self._kept = self._work.attempt_ref
        left = [_aside(ref, commit) for commit in self._work.left]
        return [*self._own(ref, found.get(ref)), *left]

    def _own(self, ref: str, there: str | None) -> list[RefChange]:
        commit = self._stamped(is_told=self._work.turn.turn == 1)
        if there is None or there == commit:
            return [RefChange(ref, commit, there)]
        same = self._is_same_work(there)
        if self._work.is_late or self._is_later(there):
            if same:
                return []
            beside = _aside(ref, commit)
            self._kept = beside.ref
            return [beside]
        return [RefChange(ref, commit, there), *([] if same else [_aside(ref, there)])]

    def _on_step(self, found: Mapping[str, str]) -> list[RefChange]:
        there = found.get(self._work.step_ref)
        if not self._work.succeeded or (there and self._is_later(there)):
            return []
        commit = self._stamped(is_told=self._work.turn == _FIRST)
        return [RefChange(self._work.step_ref, commit, there)]

    def _is_later(self, commit: str) -> bool:
        return self._turn_of(commit) > self._work.turn

    def _turn_of(self, commit: str) -> Turn:
        """The first one for a commit that does not tell: what is later always tells."""
        message = _show(self._folder, commit, "%B")
        told = dict(_TRAILER.findall(message))
        if (told.get("Run"), told.get("Step")) != (self._work.run, self._work.step):
            return _FIRST
        return Turn(_number(told.get("Attempt")), _number(told.get("Turn")))

    def _stamped(self, *, is_told: bool) -> str:
        """The commit, or an empty one on top where it does not tell its turn and must."""
        work = self._work
        if is_told or self._turn_of(work.commit) == work.turn:
            return work.commit
        tree, seconds = _show(self._folder, work.commit, "%T %ct").split()
        subject = f"{work.step}: attempt {work.turn.attempt}, turn {work.turn.turn}"
        message = f"{subject}\n\n{_trailers(work.run, work.step, work.turn)}"
        # The date of its parent: made twice, it is the same commit.
        env = identity("Branchwork", datetime.fromtimestamp(int(seconds), UTC))
        made = call_git(self._folder, "commit_tree", tree, "-p", work.commit, text=message, env=env)
        return made.text

    def _is_same_work(self, other: str) -> bool:
        """Whether the two differ in no more than when and by whom they were committed."""
        one = _show(self._folder, self._work.commit, "%T %P")
        return one == _show(self._folder, other, "%T %P")


def _aside(ref: str, commit: str) -> RefChange:
    return RefChange(f"{ref}.aside-{commit[:12]}", commit)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 1


def _show(folder: Path, commit: str, what: str) -> str:
    options = ("--no-walk", "--no-show-signature", f"--format={what}")
    return call_git(folder, "log", *options, commit, "--").text
