"""What the command line asks of the user's repository."""

from collections.abc import Sequence
from pathlib import Path

from branchwork import things
from branchwork.addresses import is_url
from branchwork.cli.processes import GitRefusedError, run_git, show_git
from branchwork.errors import RefusedError
from branchwork.names import run_refs
from branchwork.outcomes import RunReport
from branchwork.things import Thing

_FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")


class Repository:
    """The repository around a folder, named by its top."""

    def __init__(self, top: Path) -> None:
        self.top = top

    @classmethod
    def at(cls, folder: Path) -> "Repository":
        """Raises RefusedError where there is none."""
        try:
            top = run_git(folder, "rev-parse", "--show-toplevel")
        except (GitRefusedError, OSError) as error:
            raise RefusedError(
                f"{folder} is in no git repository that can be used; go into one, or make one"
                f" with `git init`; git says: {error}"
            ) from error
        return cls(Path(top.strip()))

    @classmethod
    def around(cls, folder: Path) -> "Repository | None":
        try:
            return cls.at(folder)
        except RefusedError:
            return None

    def bring(self, address: str | None, run: str, report: RunReport) -> None:
        """Fetch what a run made, where its repository is a URL and this clone lacks it."""
        made = [report.base, report.result, *(step.result for step in report.steps)]
        wanted = [commit for commit in made if commit]
        if not address or not is_url(address) or self._holds(wanted):
            return
        refs = f"{run_refs(run)}/*"
        try:
            run_git(self.top, *_FETCH, "--", address, f"+{refs}:{refs}")
        except GitRefusedError as error:
            raise RefusedError(
                f"what run {run} made is at {address} and cannot be fetched from there: {error}"
            ) from error

    def _holds(self, commits: Sequence[str]) -> bool:
        asked = "".join(f"{commit}^{{commit}}\n" for commit in commits)
        told = run_git(self.top, "cat-file", "--batch-check", text=asked)
        return not any(line.endswith(" missing") for line in told.splitlines())

    def bring_branch(self, address: str | None, branch: str) -> None:
        """As `bring`: a branch of that name, as a run on this host would have made it."""
        name = f"refs/heads/{branch}"
        if address and is_url(address) and not run_git(self.top, "for-each-ref", name):
            run_git(self.top, *_FETCH, "--", address, f"{name}:{name}")

    def commit(self, revision: str) -> str:
        """The full id of the commit that `revision` names."""
        try:
            return run_git(
                self.top, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"
            ).strip()
        except GitRefusedError as error:
            hint = "commit something first" if revision == "HEAD" else "see `git branch --all`"
            raise RefusedError(f"{self.top} has no commit {revision!r}; {hint}") from error

    def missing(self, commit: str, paths: Sequence[str]) -> set[str]:
        """Those of `paths` that `commit` does not hold."""
        found = self._things(commit, paths)
        return {path for path, thing in found if not thing.satisfies(path)}

    def leaving(self, commit: str, paths: Sequence[str]) -> set[str]:
        """Those of `paths` that lead out of the repository through symlinks of `commit`."""
        return {path for path, thing in self._things(commit, paths) if thing.leads_out}

    def _things(self, commit: str, paths: Sequence[str]) -> list[tuple[str, Thing]]:
        if not paths:
            return []
        places = [(commit, path) for path in paths]
        asked = things.question(places)
        told = run_git(self.top, "cat-file", *things.OPTIONS, text=asked)
        found = things.answers(told.encode("utf-8", "surrogateescape"), places)
        return list(zip(paths, found, strict=True))

    def _refuse_unfinished_merge(self) -> None:
        """It is the user's own; aborting ours would take theirs along."""
        begun = Path(run_git(self.top, "rev-parse", "--git-path", "MERGE_HEAD").strip())
        if (self.top / begun).exists() or run_git(self.top, "ls-files", "--unmerged"):
            raise RefusedError(
                f"{self.top} is in the middle of another merge; finish it with `git commit`, or"
                " give it up with `git merge --abort`, first"
            )

    def uncommitted(self) -> int:
        """How many paths differ from what is committed, new ones included."""
        return len(run_git(self.top, "status", "--porcelain").splitlines())

    def show_diff(self, base: str, result: str, options: Sequence[str]) -> int:
        """Git's own diff, on the user's terminal; its exit code."""
        return show_git(self.top, "diff", *options, base, result, "--")

    def diffstat(self, base: str, result: str) -> str:
        return run_git(self.top, "diff", "--stat", base, result, "--").rstrip()

    def merge(self, branch: str, message: str) -> str:
        """Merge `branch` into what is checked out; git's words.

        A conflict raises RefusedError with the files, and leaves everything as it was.
        """
        self._refuse_unfinished_merge()
        try:
            return run_git(self.top, "merge", "--no-edit", "-m", message, branch).strip()
        except GitRefusedError as error:
            files = run_git(self.top, "diff", "--name-only", "--diff-filter=U").split("\n")
            if not any(files):
                raise RefusedError(f"git did not merge {branch}: {error}") from error
            run_git(self.top, "merge", "--abort")
            raise RefusedError(
                f"{branch} conflicts with what is checked out, in {', '.join(filter(None, files))};"
                f" nothing was changed; `git merge {branch}` lets you resolve it by hand"
            ) from error
