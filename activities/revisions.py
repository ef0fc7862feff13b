"""Commits by name, what they hold, and the refs that keep them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from activities.git import call_git, git_folder
from activities.git_faults import GitError
from activities.git_locks import refs_in_work, remove_dead_locks
from branchwork import things
from branchwork.graph import nearest
from branchwork.names import ALL_RUNS
from branchwork.things import Thing


def resolve_commit(repository: Path, revision: str) -> str:
    """The full id of the commit that `revision` names. One process."""
    if revision and not revision.startswith("-"):
        answer = call_git(
            repository,
            "rev_parse",
            "--verify",
            "--quiet",
            f"{revision}^{{commit}}",
            accept=(0, 1, 128),
        )
        if answer.status == 0:
            return answer.text
    known = call_git(repository, "for_each_ref", "--format=%(refname:short)").text.split()
    raise GitError(
        f"{repository} has no commit {revision!r}{nearest(revision, known)}"
        if known
        else f"{repository} has no commits yet; make the first one",
        "UnknownRevision",
    )


def is_ancestor(repository: Path, one: str, other: str) -> bool:
    """Whether the commit `other` contains the commit `one`; each contains itself. One process."""
    answer = call_git(repository, "merge_base", "--is-ancestor", one, other, accept=(0, 1))
    return answer.status == 0


def missing_commits(repository: Path, commits: Sequence[str]) -> set[str]:
    """Those of `commits`, full ids, that the repository does not hold. One process."""
    if not commits:
        return set()
    asked = "".join(f"{commit}\n" for commit in commits)
    answer = call_git(
        repository, "cat_file", "--batch-check=%(objectname) %(objecttype)", text=asked
    )
    found = {line.removesuffix(" commit") for line in answer.text.splitlines()}
    return {commit for commit in commits if commit not in found}


def missing_paths(repository: Path, commit: str, paths: Sequence[str]) -> list[str]:
    """Those of `paths` that the commit does not hold; one with a trailing `/` must be a folder.

    Symlinks are followed; what they say lies outside is missing. One process.
    """
    found = things_at(repository, [(commit, path) for path in paths])
    return [path for path, thing in zip(paths, found, strict=True) if not thing.satisfies(path)]


def leaving_symlinks(repository: Path, commit: str, paths: Sequence[str]) -> list[str]:
    """Those of `paths` that lead out of the repository through a symlink. One process."""
    found = things_at(repository, [(commit, path) for path in paths])
    return [path for path, thing in zip(paths, found, strict=True) if thing.leads_out]


def things_at(repository: Path, places: Sequence[tuple[str, str]]) -> list[Thing]:
    """What stands at each (commit, path). One process for all of them."""
    if not places:
        return []
    answer = call_git(repository, "cat_file", *things.OPTIONS, text=things.question(places))
    return things.answers(answer.raw, places)


class RefChange(NamedTuple):
    """Compare and set: `ref` shall hold `commit`, if it now holds `expected`."""

    ref: str
    commit: str
    expected: str | None = None
    """None: if it does not exist."""

    @property
    def line(self) -> str:
        nothing = "0" * len(self.commit)
        return f"update {self.ref}\0{self.commit}\0{self.expected or nothing}\0"


class RefTaken(GitError):  # noqa: N818  # as its name
    """A ref holds something else than expected."""

    def __init__(self, ref: str, found: str | None) -> None:
        super().__init__(
            f"{ref} was to be set and holds {found or 'nothing'}: someone else moved it;"
            " look at it, and rename or delete it if it is not needed",
            "RefTaken",
        )
        self.ref = ref
        self.found = found


def publish_ref(repository: Path, ref: str, commit: str, expected: str | None) -> None:
    """Set `ref` if it holds `expected`, or is not there if that is None. One process.

    Does nothing if it holds `commit` already. Raises RefTaken if it holds anything else.
    """
    publish_refs(repository, [RefChange(ref, commit, expected)])


def publish_refs(repository: Path, changes: Sequence[RefChange]) -> None:
    """All `changes` or none, as `publish_ref`. One process."""
    try:
        _set(repository, changes)
    except GitError:
        found = read_refs(repository, [change.ref for change in changes])
        undone = [change for change in changes if found.get(change.ref) != change.commit]
        for change in undone:
            if found.get(change.ref) != change.expected:
                raise RefTaken(change.ref, found.get(change.ref)) from None
        commits = {change.ref: change.commit for change in changes}
        remove_dead_locks(git_folder(repository), commits, ALL_RUNS)
        _set(repository, undone)


def _set(repository: Path, changes: Sequence[RefChange]) -> None:
    if changes:
        text = "".join(change.line for change in changes)
        with refs_in_work(git_folder(repository)) as lock:
            call_git(repository, "update_ref", "--stdin", "-z", text=text, locks=[lock])


def read_refs(repository: Path, refs: Sequence[str]) -> Mapping[str, str]:
    """What those of `refs` hold that exist. One process."""
    answer = call_git(repository, "for_each_ref", "--format=%(refname) %(objectname)", "--", *refs)
    found = dict(line.split(" ") for line in answer.text.splitlines())
    return {ref: found[ref] for ref in refs if ref in found}
