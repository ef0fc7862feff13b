"""Git's three ways to talk to a remote, each one process, with the remote's faults named."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from activities.git import Answer, call_git
from activities.git_calls import GIT_SECONDS
from activities.patience import patience
from activities.remote_faults import remote_fault

_ANY_STATUS = range(-64, 256)
_FETCHING = ("--quiet", "--no-write-fetch-head", "--no-recurse-submodules")
_PUSHING = (
    "--porcelain",
    "--atomic",
    "--no-verify",
    "--no-signed",
    "--no-follow-tags",
    "--no-recurse-submodules",
)


class RemoteCalls:
    """Of one URL, called in this host's clone of it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def listed(self, folder: Path, *words: str) -> Mapping[str, str]:
        """By their names: what refs of the remote hold that fit `words`, patterns or options."""
        options = [word for word in words if word.startswith("--")]
        patterns = [word for word in words if not word.startswith("--")]
        told = self._call(folder, "ls_remote", "--quiet", *options, self._url, *patterns).text
        lines = (line.partition("\t") for line in told.splitlines())
        return {ref: commit for commit, _, ref in lines}

    def fetch(
        self,
        clone: Path,
        refspecs: Sequence[str],
        *options: str,
        lock: int | None = None,
        seconds: float = GIT_SECONDS,
    ) -> None:
        """Without tags unless `options` ask for them. No process for no refspecs."""
        if refspecs:
            words = (*_FETCHING, "--no-tags", *options, self._url, *refspecs)
            self._call(clone, "fetch", *words, lock=lock, seconds=seconds)

    def push(self, clone: Path, expected: Mapping[str, str], refspecs: Sequence[str]) -> str | None:
        """All or none, each ref if it holds what is expected; nothing is, where that is empty.

        None, or why the remote did not take them.
        """
        if not refspecs:
            return None
        leases = [f"--force-with-lease={ref}:{commit}" for ref, commit in expected.items()]
        answer = self._answer(clone, "push", *_PUSHING, *leases, self._url, *refspecs)
        refused = [line for line in answer.text.splitlines() if line.startswith("!")]
        # First: git also says that the connection broke, once it has been refused.
        if refused:
            return f"{answer.complaint}\n{' / '.join(refused)}"
        if answer.status:
            raise remote_fault("push", self._url, answer.status, answer.complaint)
        return None

    def _call(
        self,
        folder: Path,
        command: str,
        *arguments: str,
        lock: int | None = None,
        seconds: float = GIT_SECONDS,
    ) -> Answer:
        answer = self._answer(folder, command, *arguments, lock=lock, seconds=seconds)
        if answer.status:
            name = command.replace("_", "-")
            raise remote_fault(name, self._url, answer.status, answer.complaint)
        return answer

    def _answer(
        self,
        folder: Path,
        command: str,
        *arguments: str,
        lock: int | None = None,
        seconds: float = GIT_SECONDS,
    ) -> Answer:
        return call_git(
            folder,
            command,
            *arguments,
            env=patience(self._url, folder),
            accept=_ANY_STATUS,
            locks=[] if lock is None else [lock],
            seconds=seconds,
        )
