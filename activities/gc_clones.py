"""Clones of repositories by URL that no run has used for long, found and removed."""

import os
import secrets
from datetime import datetime
from pathlib import Path

from activities.gc_scene import NotCollectedError, Scene, newest, size_of
from activities.git import call_git, folder_lock
from activities.git_faults import GitError
from activities.remotes import Remote
from activities.trash import delete
from branchwork.collecting import Doing, Kind, Leftover, rounded
from branchwork.names import ALL_RUNS

_LOCK_SECONDS = 1.0
_TAGS = "refs/tags/"


class CloneLeftovers:
    """As long as one holds a ref of a run, or a worktree, it is not named."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def find(self) -> list[Leftover]:
        clones = sorted(self._scene.state.repositories.glob("*/clone.git"))
        found = [await self._scene.blocking(self._find, clone) for clone in clones]
        return [leftover for leftover in found if leftover]

    async def remove(self, leftover: Leftover) -> str:
        return await self._scene.blocking(self._remove, Path(leftover.what))

    def _remove(self, clone: Path) -> str:
        """Decided again while nobody fetches into it. In one step: no half of it is ever used."""
        trash = self._scene.state.trash
        with folder_lock(clone.parent, _LOCK_SECONDS):
            found = self._find(clone)
            if found is None or found.doing is Doing.LEAVE:
                raise NotCollectedError("somebody uses it by now")
            trash.mkdir(parents=True, exist_ok=True)
            away = clone.rename(trash / f"clone-{secrets.token_hex(8)}")
        delete(away)
        return "removed"

    def _find(self, clone: Path) -> Leftover | None:
        used_at = _used_at(clone)
        if used_at is None or not self._scene.retention.is_over(used_at):
            return None
        try:
            if _is_used(clone):
                return None
            wrong = _own_work(clone)
        except GitError as error:
            wrong = str(error)
        return Leftover(
            kind=Kind.CLONE,
            what=str(clone),
            doing=Doing.LEAVE if wrong else Doing.REMOVE,
            reason=wrong or f"no run used it for {rounded(self._scene.retention.now - used_at)}",
            since=used_at,
            size_bytes=size_of(clone),
        )


def _used_at(clone: Path) -> datetime | None:
    """Whatever is done with a clone makes, moves or removes files in one of its folders."""
    return newest(*(Path(folder) for folder, _, _ in os.walk(clone)))


def _is_used(clone: Path) -> bool:
    refs = call_git(clone, "for_each_ref", "--count=1", "--format=x", ALL_RUNS).text
    return bool(refs) or any(clone.glob("worktrees/*"))


def _own_work(clone: Path) -> str | None:
    """What it alone holds: agents can make branches and tags in it."""
    if _has_commits(clone, f"--exclude={_TAGS}*", "--all"):
        return "it holds branches that agents made; push those you need, and delete it by hand"
    if _has_commits(clone, "--tags"):
        # A tag may lie on no branch; most are the remote's.
        url = call_git(clone, "config", "--get", "remote.origin.url").text
        there = Remote(url, clone).read_below(_TAGS)
        if any(there.get(tag) != found for tag, found in _tags(clone)):
            return "it holds tags that agents made; push those you need, and delete it by hand"
    return None


def _has_commits(clone: Path, *refs: str) -> bool:
    """Whether `refs` reach what no branch of the remote does, as it was last seen."""
    answer = call_git(clone, "rev_list", "--max-count=1", *refs, "--not", "--remotes")
    return bool(answer.text)


def _tags(clone: Path) -> list[tuple[str, str]]:
    answer = call_git(clone, "for_each_ref", "--format=%(refname) %(objectname)", _TAGS)
    names = (line.partition(" ") for line in answer.text.splitlines())
    return [(name, found) for name, _, found in names]
