"""The repository of a run, on this host or behind a URL: one way to use both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from activities.remotes import Remote
from activities.revisions import RefChange, publish_refs, read_refs, resolve_commit
from branchwork.addresses import is_url
from branchwork.names import StateFolder, base_ref


class RefStore(Protocol):
    """Where refs are moved by compare and set: a repository on this host, or a remote."""

    def look(self, refs: Sequence[str]) -> Mapping[str, str]:
        """What those of `refs` hold that exist; the commits can be read in the folder."""
        ...

    def publish(self, changes: Sequence[RefChange]) -> None:
        """All `changes` or none. Raises RefTaken where a ref holds what is not expected."""
        ...


class Repository(Protocol):
    """What a run's activities ask of its repository."""

    @property
    def url(self) -> str | None:
        """None for one on this host's disk."""
        ...

    @property
    def folder(self) -> Path:
        """Where git is called. Of a URL: this host's clone."""
        ...

    @property
    def stores(self) -> Sequence[RefStore]:
        """Where an attempt's refs are published, in this order; the last is the run's truth."""
        ...

    def resolve(self, run: str, revision: str) -> str:
        """The commit that was pinned as the run's base, or else that `revision` names."""
        ...

    def bring(self, run: str, wanted: Mapping[str, str]) -> None:
        """Have the commits that these refs of the run were set to, on whichever host."""
        ...


class PathRepository:
    """On this host's disk: everything is there already."""

    def __init__(self, folder: Path) -> None:
        self.url: str | None = None
        self.folder = folder
        self.stores: Sequence[RefStore] = (self,)

    def resolve(self, run: str, revision: str) -> str:
        pin = base_ref(run)
        # The branch may have moved since a first try pinned it.
        return read_refs(self.folder, [pin]).get(pin) or resolve_commit(self.folder, revision)

    def bring(self, run: str, wanted: Mapping[str, str]) -> None:
        pass

    def look(self, refs: Sequence[str]) -> Mapping[str, str]:
        return read_refs(self.folder, refs)

    def publish(self, changes: Sequence[RefChange]) -> None:
        publish_refs(self.folder, changes)


class UrlRepository:
    """Behind a URL: what is kept stands in this host's clone first, then on the remote."""

    def __init__(self, url: str, clone: Path) -> None:
        self.url: str | None = url
        self._remote = Remote(url, clone)
        self.folder = clone
        self.stores: Sequence[RefStore] = (PathRepository(clone), self._remote)

    def resolve(self, run: str, revision: str) -> str:
        return self._remote.resolve(run, revision)

    def bring(self, run: str, wanted: Mapping[str, str]) -> None:
        self._remote.bring(run, wanted)


def repository_of(address: str, state: StateFolder) -> Repository:
    """No process; a clone is made when it is first used."""
    folder = state.repository(address)
    return UrlRepository(address, folder) if is_url(address) else PathRepository(folder)


def publish_everywhere(repository: Repository, changes: Sequence[RefChange]) -> None:
    """On the remote first, where others may have been quicker. Raises RefTaken."""
    for store in reversed(repository.stores):
        store.publish(changes)
