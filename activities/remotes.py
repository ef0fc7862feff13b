"""A repository by URL: this host's bare clone of it, and refs that travel over the remote.

Every host has a clone of its own in its state folder. What hosts tell each other, they
tell by refs of the remote, moved by compare and set and never by force alone.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from activities.git import call_git, folder_lock, line_of
from activities.git_calls import GIT_SECONDS
from activities.git_faults import GitError, disk_faults_named
from activities.remote_calls import RemoteCalls
from activities.remote_faults import rejected
from activities.revisions import (
    RefChange,
    RefTaken,
    missing_commits,
    read_refs,
    resolve_commit,
)
from branchwork.names import base_ref, run_refs

HALF_CLONE = "partial.git"
"""Beside the clone that it shall become."""

_ANY_STATUS = range(-64, 256)
_HEX = re.compile(r"[0-9a-f]{7,64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHA256_LENGTH = 64
_BRANCHES = "+refs/heads/*:refs/remotes/origin/*"
_HEAD = "+HEAD:refs/remotes/origin/HEAD"
_ALL = ("--prune", "--tags", "--force")
"""With tags, wherever they were moved to; those that agents made here stay."""
_PUSHES = 3
"""A remote also refuses what meets somebody else's push that is under way."""
_CLONE_SECONDS = 6 * 3600
"""Bound on the first fetch: one that was cut short begins again from nothing."""


class Remote:
    """The remote at `url` and its clone at `clone`, which is made when it is first needed."""

    def __init__(self, url: str, clone: Path) -> None:
        self.url = url
        self.clone = clone
        self._calls = RemoteCalls(url)

    def make_clone(self) -> None:
        """Does nothing if there is one. Nothing half is ever at its place."""
        if self.clone.exists():
            return
        with disk_faults_named(f"making the clone {self.clone}"):
            self.clone.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with folder_lock(self.clone.parent, GIT_SECONDS) as lock:
                if not self.clone.exists():
                    self._make_clone(lock)

    def _make_clone(self, lock: int) -> None:
        partial = self.clone.with_name(HALF_CLONE)
        shutil.rmtree(partial, ignore_errors=True)
        options = ("--bare", "--quiet", f"--object-format={self._object_format(partial.parent)}")
        call_git(partial.parent, "init", *options, "--", str(partial), locks=[lock])
        # For people and agents that call git there; we name the URL ourselves.
        call_git(partial, "config", "remote.origin.url", self.url)
        call_git(partial, "config", "remote.origin.fetch", _BRANCHES)
        self._calls.fetch(partial, [_BRANCHES], *_ALL, lock=lock, seconds=_CLONE_SECONDS)
        partial.rename(self.clone)

    def _object_format(self, folder: Path) -> str:
        """Git cannot fetch between repositories of different hashes."""
        found = self._calls.listed(folder, "HEAD", "refs/heads/*")
        if not found:
            raise GitError(f"{self.url} has no commits yet; push the first one", "UnknownRevision")
        return "sha256" if len(next(iter(found.values()))) == _SHA256_LENGTH else "sha1"

    def resolve(self, run: str, revision: str) -> str:
        """The commit that was pinned as the run's base, or else that `revision` names there now.

        A branch, a tag or a commit, or one of git's ways to count from those. Raises
        GitError `UnknownRevision`.
        """
        self.make_clone()
        pin = base_ref(run)
        # A pattern, because a ref that is not there would make the fetch fail.
        head = [_HEAD] if revision.startswith("HEAD") else []
        with folder_lock(self.clone.parent, GIT_SECONDS) as lock:
            self._calls.fetch(self.clone, [_BRANCHES, f"+{pin}*:{pin}*", *head], *_ALL, lock=lock)
        if pinned := read_refs(self.clone, [pin]).get(pin):
            return pinned
        if _COMMIT.fullmatch(revision) and missing_commits(self.clone, [revision]):
            # On no branch (any more).
            self.bring(run, {pin: revision})
        return self._commit_of(revision)

    def _commit_of(self, revision: str) -> str:
        for name in _names(revision):
            with suppress(GitError):
                return resolve_commit(self.clone, name)
        raise GitError(
            f"{self.url} has no branch, tag or commit {revision!r}; see `git ls-remote {self.url}`",
            "UnknownRevision",
        )

    def bring(self, run: str, wanted: Mapping[str, str]) -> None:
        """Have the commits that these refs of the run were set to, by whichever host.

        A fetch or two for all that are missing; no process for what this host made or
        brought itself. What the remote does not hold is not there afterwards.
        """
        self.make_clone()
        if not self._missing(run, wanted):
            return
        with folder_lock(self.clone.parent, GIT_SECONDS) as lock:
            missing = self._missing(run, wanted)
            self._fetch_what_is_there([f"+{ref}:{ref}" for ref in missing], lock)
            # Refs that are not there (any more), or were set to something else since.
            rest = self._missing(run, missing).values()
            pins = [f"+{commit}:{run_refs(run)}/needs/{commit}" for commit in rest]
            self._fetch_what_is_there(pins, lock)

    def _fetch_what_is_there(self, refspecs: Sequence[str], lock: int) -> None:
        """One that the remote does not hold makes git fetch none of them."""
        try:
            self._calls.fetch(self.clone, refspecs, "--no-prune", lock=lock)
        except GitError as error:
            if error.name != "UnknownRevision":
                raise
            for refspec in refspecs if len(refspecs) > 1 else ():
                self._fetch_what_is_there([refspec], lock)

    def _missing(self, run: str, wanted: Mapping[str, str]) -> Mapping[str, str]:
        """Those that no ref of the clone holds: without one, a fetch may have been cut short."""
        return {
            ref: commit
            for ref, commit in wanted.items()
            if line_of(self.clone / ref) != commit and not self._contains(run, commit)
        }

    def _contains(self, run: str, commit: str) -> bool:
        options = ("--count=1", "--format=x", f"--contains={commit}")
        refs = f"{run_refs(run)}/"
        answer = call_git(self.clone, "for_each_ref", *options, refs, accept=_ANY_STATUS)
        return answer.status == 0 and bool(answer.text)

    def read(self, refs: Sequence[str]) -> Mapping[str, str]:
        """What those of `refs` hold on the remote that exist there."""
        found = self._calls.listed(self.clone, *refs)
        return {ref: found[ref] for ref in refs if ref in found}

    def look(self, refs: Sequence[str]) -> Mapping[str, str]:
        """As `read`; the commits themselves can then be read in the clone."""
        found = self.read(refs)
        # To no ref of the clone: those hold what this host made, maybe not pushed yet.
        self._calls.fetch(self.clone, list(found.values()))
        return found

    def publish(self, changes: Sequence[RefChange]) -> None:
        """All `changes` on the remote or none, each if its ref holds what is expected there.

        Does nothing for refs that hold the commit already, so an interrupted push may be
        made again. Raises RefTaken; RemoteUnreachable, RemoteRefused. One process.
        """
        undone, complaint = changes, ""
        for _ in range(_PUSHES):
            complaint = self._push(undone) or ""
            if not complaint:
                return
            undone = self._undone(changes)
        raise rejected(self.url, complaint)

    def _undone(self, changes: Sequence[RefChange]) -> Sequence[RefChange]:
        found = self.read([change.ref for change in changes])
        undone = [change for change in changes if found.get(change.ref) != change.commit]
        for change in undone:
            if found.get(change.ref) != change.expected:
                raise RefTaken(change.ref, found.get(change.ref))
        return undone

    def read_below(self, top: str) -> Mapping[str, str]:
        """All refs of the remote whose names begin with `top`, and what they hold."""
        found = self._calls.listed(self.clone, "--refs", f"{top}*")
        return {ref: commit for ref, commit in found.items() if ref.startswith(top)}

    def delete(self, refs: Mapping[str, str]) -> None:
        """All `refs` of the remote or none, each if it holds that commit still."""
        if complaint := self._calls.push(self.clone, refs, [f":{ref}" for ref in refs]):
            raise rejected(self.url, complaint)

    def _push(self, changes: Sequence[RefChange]) -> str | None:
        """None, or why the remote did not take them."""
        expected = {change.ref: change.expected or "" for change in changes}
        refspecs = [f"{change.commit}:{change.ref}" for change in changes]
        return self._calls.push(self.clone, expected, refspecs)


def _names(revision: str) -> list[str]:
    """What a revision of the remote is called in its clone.

    Other names there are the clone's own: agents may have made them.
    """
    if revision.startswith("refs/heads/"):
        return [f"refs/remotes/origin/{revision.removeprefix('refs/heads/')}"]
    if revision.startswith("refs/tags/"):
        return [revision]
    named = [f"refs/remotes/origin/{revision}", f"refs/tags/{revision}"]
    return [*named, revision] if _HEX.match(revision) else named
