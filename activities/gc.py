"""Everything that is left over, found and removed: finding changes nothing."""

from collections.abc import Callable

from activities.gc_clones import CloneLeftovers
from activities.gc_files import find_junk, remove_junk
from activities.gc_records import RecordLeftovers
from activities.gc_refs import RefLeftovers
from activities.gc_remotes import RemoteLeftovers
from activities.gc_scene import NotCollectedError, Scene
from activities.gc_steps import StepLeftovers
from activities.git_faults import GitError
from activities.leftovers import what_is_there
from activities.taking_away import UnreadableError
from branchwork.addresses import is_url
from branchwork.collecting import Doing, Kind, Leftover, Removal

FAULTS = (NotCollectedError, UnreadableError, GitError, OSError)
"""Of one leftover: the others are removed all the same."""


class Collector:
    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._steps = StepLeftovers(scene)
        self._refs = RefLeftovers(scene)
        self._remotes = RemoteLeftovers(scene)
        self._records = RecordLeftovers(scene)
        self._clones = CloneLeftovers(scene)

    async def find(self) -> list[Leftover]:
        """In the order in which it is to be removed.

        As long as a run has worktrees or processes here, its refs and records are not
        named: work may be put on them yet. So look again after removing.
        """
        state, repositories = self._scene.state, self._scene.repositories
        there = await self._scene.blocking(what_is_there, state, repositories)
        runs = {left.run for left in there}
        return [
            *await self._steps.find(there),
            *await self._scene.blocking(find_junk, state, repositories),
            *await self._refs.find(runs),
            *await self._remotes.find(runs),
            *await self._records.find(runs),
            *await self._clones.find(),
        ]

    async def remove_all(self, tell: Callable[[Removal], None]) -> list[Leftover]:
        """Until nothing more is found, since removing lets more be seen; what is to be left.

        Each thing is tried once; `tell` hears of it.
        """
        tried: set[tuple[str, ...]] = set()
        while True:
            found = await self.find()
            doable = [leftover for leftover in found if leftover.doing is not Doing.LEAVE]
            new = [leftover for leftover in doable if _name(leftover) not in tried]
            if not new:
                return [leftover for leftover in found if leftover.doing is Doing.LEAVE]
            for leftover in new:
                tried.add(_name(leftover))
                tell(await self._removal(leftover))

    async def _removal(self, leftover: Leftover) -> Removal:
        try:
            return Removal(leftover=leftover, is_done=True, became=await self.remove(leftover))
        except FAULTS as error:
            return Removal(leftover=leftover, is_done=False, became=str(error))

    async def remove(self, leftover: Leftover) -> str:
        """What became of it; decided again. Raises one of FAULTS for what stays."""
        match leftover.kind:
            case Kind.WORKTREE | Kind.PROCESSES:
                return await self._steps.remove(leftover)
            case Kind.REFS if is_url(leftover.repository or "/"):
                return await self._remotes.remove(leftover)
            case Kind.REFS:
                return await self._refs.remove(leftover)
            case Kind.CLONE:
                return await self._clones.remove(leftover)
            case Kind.RECORDS:
                return await self._records.remove(leftover)
            case _:
                return await self._scene.blocking(remove_junk, self._scene.state, leftover)


def _name(leftover: Leftover) -> tuple[str, ...]:
    return leftover.kind, leftover.what, leftover.repository or ""
