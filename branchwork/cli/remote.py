"""What the command line asks of a repository that is named by its URL."""

from pathlib import Path

from branchwork.addresses import bad_address, is_url
from branchwork.cli.processes import GitRefusedError, run_git
from branchwork.errors import RefusedError


def url_of(named: str) -> str | None:
    """The URL that somebody gave for a repository; None if it is a folder.

    Raises RefusedError for one that cannot be used.
    """
    if "://" not in named and (Path(named).exists() or bad_address(named)):
        return None
    if not is_url(named):
        return None
    if wrong := bad_address(named):
        raise RefusedError(wrong)
    return named


def commit_there(url: str, revision: str) -> str | None:
    """The commit that HEAD, a branch or a tag of the remote names now.

    None where only the worker can tell: it is another kind of revision, or this machine
    cannot reach the remote. Raises RefusedError for a name that the remote does not have.
    """
    if set(revision) & set("~^:@{ *?["):
        return None
    names = [f"refs/heads/{revision}", f"refs/tags/{revision}^{{}}", f"refs/tags/{revision}"]
    try:
        told = run_git(Path.cwd(), "ls-remote", "--quiet", "--", url, revision, *names)
    except (GitRefusedError, OSError):
        return None
    found = {ref: commit for commit, _, ref in (line.partition("\t") for line in told.splitlines())}
    commit = next((found[name] for name in (revision, *names) if name in found), None)
    if commit is None and not _may_be_commit(revision):
        raise RefusedError(f"{url} has no branch or tag {revision!r}; see `git ls-remote {url}`")
    return commit


def _may_be_commit(revision: str) -> bool:
    return len(revision) > 6 and not set(revision) - set("0123456789abcdef")  # noqa: PLR2004  # as git abbreviates them
