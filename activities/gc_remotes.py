"""Refs of ended runs on the remotes of this host's clones, found and removed."""

from collections.abc import Container, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path

from activities.gc_refs import Ref, by_run, dated, unreadable
from activities.gc_scene import NotCollectedError, Scene
from activities.git import call_git
from activities.git_faults import GitError
from activities.remotes import Remote
from branchwork.collecting import Doing, Kind, Leftover, Verdict, judge_run
from branchwork.names import ALL_RUNS, StateFolder, base_ref, run_refs

_AT_ONCE = 500
"""Of refs in one push: they are arguments of a program."""


class RemoteLeftovers:
    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._remotes: Mapping[str, Remote] = {}

    async def find(self, but: Container[str]) -> list[Leftover]:
        """Of all runs `but` those."""
        remotes = await self._scene.blocking(_remotes, self._scene.state)
        self._remotes = {remote.url: remote for remote in remotes}
        found: list[Leftover] = []
        for remote in self._remotes.values():
            try:
                found.extend(await self._find(remote, but))
            except GitError as error:
                found.append(unreadable(remote.url, error))
        return found

    async def remove(self, leftover: Leftover) -> str:
        """Those that were moved or made meanwhile stay."""
        remote, run = self._remotes[leftover.repository or ""], leftover.run or ""
        there = await self._scene.blocking(remote.read_below, f"{run_refs(run)}/")
        if dict(there) != leftover.refs or not await self._judge(remote, run, there):
            raise NotCollectedError("it was moved meanwhile; look again")
        await self._scene.blocking(_delete, remote, there)
        return "removed"

    async def _find(self, remote: Remote, but: Container[str]) -> list[Leftover]:
        there = await self._scene.blocking(remote.read_below, ALL_RUNS)
        runs = by_run(Ref(name, commit, None) for name, commit in there.items())
        found = [
            await self._leftover(remote, run, {ref.name: ref.commit for ref in runs[run]})
            for run in sorted(runs)
            if run not in but
        ]
        return [leftover for leftover in found if leftover]

    async def _leftover(self, remote: Remote, run: str, refs: Mapping[str, str]) -> Leftover | None:
        verdict = await self._judge(remote, run, refs)
        if verdict is None:
            return None
        return Leftover(
            kind=Kind.REFS,
            what=f"{run_refs(run)} ({len(refs)})",
            doing=Doing.REMOVE if verdict.is_left_over else Doing.LEAVE,
            reason=verdict.reason,
            run=run,
            repository=remote.url,
            refs=refs,
        )

    async def _judge(self, remote: Remote, run: str, refs: Mapping[str, str]) -> Verdict | None:
        """Commits are fetched to see how old they are, but none of runs that are surely to stay."""
        standing = await self._scene.standing_of(run)
        retention = self._scene.retention
        if standing and (not standing.ended_at or not retention.is_over(standing.ended_at)):
            return None
        if not retention.has_server:
            return judge_run(retention, standing, retention.now)
        since = await self._scene.blocking(_newest, remote, run, refs) or retention.now
        return judge_run(retention, standing, since)


def _remotes(state: StateFolder) -> list[Remote]:
    clones = sorted(state.repositories.glob("*/clone.git"))
    urls = [(clone, _url_of(clone)) for clone in clones]
    return [Remote(url, clone) for clone, url in urls if url]


def _url_of(clone: Path) -> str:
    answer = call_git(clone, "config", "--get", "remote.origin.url", accept=(0, 1, 128))
    # Agents can write into a clone's settings; its folder tells what it is the clone of.
    return answer.text if _is_clone_of(clone, answer.text) else ""


def _is_clone_of(clone: Path, url: str) -> bool:
    return StateFolder(clone.parents[2]).repository(url) == clone


def _newest(remote: Remote, run: str, refs: Mapping[str, str]) -> datetime | None:
    """None if nothing tells: the base is the user's commit, and may have been old before."""
    own = [ref for ref in refs if ref != base_ref(run)]
    if not own:
        return None
    commits = sorted(set(remote.look(own).values()))
    options = ("--no-walk", "--no-show-signature", "--format=%ct", "--stdin")
    answer = call_git(remote.clone, "log", *options, text="".join(f"{one}\n" for one in commits))
    return max(filter(None, map(dated, answer.text.split())), default=None)


def _delete(remote: Remote, refs: Mapping[str, str]) -> None:
    rest = iter(refs.items())
    while some := dict(islice(rest, _AT_ONCE)):
        remote.delete(some)
