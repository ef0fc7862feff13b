"""Refs of ended runs in the repositories, found and removed. Result branches are the user's."""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from activities.gc_scene import NotCollectedError, Scene, changed_at, newest
from activities.git import call_git, git_folder
from activities.git_faults import GitError
from activities.git_locks import refs_in_work
from branchwork.collecting import Doing, Kind, Leftover, Verdict, judge_run
from branchwork.names import ALL_RUNS, base_ref, run_refs

_PARTS = 4
"""refs, branchwork, the run, and at least one of its own."""


class Ref(NamedTuple):
    name: str
    commit: str
    committed_at: datetime | None
    """None if it holds no commit."""


class RefLeftovers:
    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def find(self, but: Container[str]) -> list[Leftover]:
        """Of all runs `but` those."""
        found: list[Leftover] = []
        there = [path for path in self._scene.repositories if path.is_dir()]
        for repository in there:
            try:
                runs = await self._scene.blocking(_refs_by_run, repository)
            except GitError as error:
                found.append(unreadable(str(repository), error))
                continue
            for run in sorted(run for run in runs if run not in but):
                found.extend(await self._find(repository, run, runs[run]))
        return found

    async def remove(self, leftover: Leftover) -> str:
        """All of a run's or none; those that were moved or made meanwhile stay."""
        repository, run = Path(leftover.repository or ""), leftover.run or ""
        refs = (await self._scene.blocking(_refs_by_run, repository)).get(run, [])
        verdict = await self._judge(repository, run, refs)
        if {ref.name: ref.commit for ref in refs} != leftover.refs or not verdict:
            raise NotCollectedError("it was moved meanwhile; look again")
        await self._scene.blocking(_remove, repository, leftover.refs)
        return "removed"

    async def _find(self, repository: Path, run: str, refs: list[Ref]) -> list[Leftover]:
        verdict = await self._judge(repository, run, refs)
        if verdict is None:
            return []
        leftover = Leftover(
            kind=Kind.REFS,
            what=f"{run_refs(run)} ({len(refs)})",
            doing=Doing.REMOVE if verdict.is_left_over else Doing.LEAVE,
            reason=verdict.reason,
            run=run,
            repository=str(repository),
            since=self._since(repository, run, refs),
            size_bytes=await self._scene.blocking(_size_of, repository, run, refs),
            refs={ref.name: ref.commit for ref in refs},
        )
        return [leftover]

    async def _judge(self, repository: Path, run: str, refs: list[Ref]) -> Verdict | None:
        since = self._since(repository, run, refs) or self._scene.retention.now
        return judge_run(self._scene.retention, await self._scene.standing_of(run), since)

    def _since(self, repository: Path, run: str, refs: list[Ref]) -> datetime | None:
        """The newest of commits, of files of refs, and of what this host recorded."""
        # The base is the user's commit, and may have been old when the run began.
        own = [ref.committed_at for ref in refs if ref.name != base_ref(run)]
        folder = git_folder(repository)
        records = (self._scene.state.runs / run).glob("*/*/record.json")
        signs = [*own, *(changed_at(folder / ref.name) for ref in refs), newest(*records)]
        return max(filter(None, signs), default=None) or changed_at(folder / "packed-refs")


def by_run(refs: Iterable[Ref]) -> Mapping[str, list[Ref]]:
    runs: defaultdict[str, list[Ref]] = defaultdict(list)
    for ref in refs:
        parts = ref.name.split("/")
        if len(parts) >= _PARTS:
            runs[parts[2]].append(ref)
    return runs


def _refs_by_run(repository: Path) -> Mapping[str, list[Ref]]:
    pieces = "%(refname) %(objectname) %(committerdate:unix)"
    answer = call_git(repository, "for_each_ref", f"--format={pieces}", ALL_RUNS)
    lines = [line.split(" ") for line in answer.text.splitlines()]
    return by_run(Ref(name, commit, dated(seconds)) for name, commit, seconds in lines)


def dated(seconds: str) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def _size_of(repository: Path, run: str, refs: list[Ref]) -> int:
    """Of the objects that no other ref holds: git's own gc gives it back later."""
    answer = call_git(
        repository,
        "rev_list",
        "--objects",
        "--disk-usage",
        "--stdin",
        "--not",
        f"--exclude={run_refs(run)}/*",
        "--all",
        text="".join(f"{ref.commit}\n" for ref in refs),
        accept=(0, 128),
    )
    return int(answer.text) if answer.text.isdecimal() else 0


def _remove(repository: Path, refs: Mapping[str, str]) -> None:
    changes = "".join(f"delete {name}\0{commit}\0" for name, commit in refs.items())
    with refs_in_work(git_folder(repository)) as lock:
        call_git(repository, "update_ref", "--stdin", "-z", text=changes, locks=[lock])


def unreadable(repository: str, error: GitError) -> Leftover:
    return Leftover(
        kind=Kind.REFS,
        what=repository,
        doing=Doing.LEAVE,
        reason=str(error),
        repository=repository,
    )
