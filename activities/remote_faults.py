"""What can go wrong between git and a remote, and whether trying again can help."""

import re

from activities.git_faults import GitError, fault_of

# Git has exit statuses for nothing of this; its words, ssh's and curl's are those of LC_ALL=C.
_REFUSED = re.compile(
    r"Authentication failed|could not read (Username|Password)|terminal prompts disabled"
    r"|Permission denied \(|Host key verification failed|returned error: 40[0-79]\b"
    r"|[Rr]epository .*not found|does not appear to be a git repository|[Aa]ccess denied"
    r"|certificate|unsupported protocol|transport '.*' not allowed|does not support --atomic"
    r"|pre-receive hook declined|protected branch|deny updating a hidden ref"
)
_UNREACHABLE = re.compile(
    r"[Cc]ould not resolve|name resolution|Name or service not known|unable to look up"
    r"|[Cc]onnection (refused|reset|closed|timed out)|[Tt]imed out|Network is unreachable"
    r"|No route to host|unable to (access|connect)|[Cc]ouldn't connect|[Ff]ailed to connect"
    r"|returned error: (408|429|5\d\d)|HTTP (408|429|5\d\d)|Broken pipe|kex_exchange"
)
_GONE = re.compile(r"couldn't find remote ref|not our ref|no such remote ref")
_CUT_OFF = re.compile(r"hung up unexpectedly|early EOF|unexpected disconnect|RPC failed|lost conn")
_BUSY = re.compile(r"cannot lock ref|Unable to create|failed to update ref|unpack(er)? error")
_BOILERPLATE = ("hint:", "Please make sure you have", "and the repository exists")


def remote_fault(command: str, url: str, status: int, complaint: str) -> GitError:
    """The fault that `complaint`, git's stderr, tells of."""
    what = f"git {command} with {url}"
    if _REFUSED.search(complaint):
        return _refused(f"git {command}", url, complaint)
    if _UNREACHABLE.search(complaint):
        return _unreachable(what, complaint)
    if _GONE.search(complaint):
        return GitError(
            f"{what} failed: {_words(complaint)}",
            "UnknownRevision",
            advice="somebody deleted it there, or rewrote what it was part of",
        )
    fault = fault_of(what, status, complaint)
    is_known = fault.name != "GitFailed"
    return _unreachable(what, complaint) if not is_known and _CUT_OFF.search(complaint) else fault


def rejected(url: str, complaint: str) -> GitError:
    """A push that reached the remote, which did not set the refs though they were as expected."""
    if "exists; cannot create" in complaint:
        return GitError(f"a ref of {url} is in the way: {_words(complaint)}", "RefTaken")
    if _BUSY.search(complaint):
        return GitError(
            f"{url} did not set refs: {_words(complaint)}",
            "Locked",
            transient=True,
            advice="see whether another push is under way there, or a dead one left a lock",
        )
    return _refused("git push", url, complaint)


def _refused(what: str, url: str, complaint: str) -> GitError:
    return GitError(
        f"{what} with {url} was refused: {_words(complaint)}",
        "RemoteRefused",
        advice=f"`git ls-remote {url}` must work without a question on the worker's host, for the"
        " worker's user (by an ssh agent, a credential helper or GIT_ASKPASS), and that user"
        " must be allowed to push",
    )


def _unreachable(what: str, complaint: str) -> GitError:
    return GitError(
        f"{what} failed: {_words(complaint)}",
        "RemoteUnreachable",
        transient=True,
        advice="it is tried again: see whether the network and the server are up",
    )


def _words(complaint: str, most: int = 3) -> str:
    lines = [line.strip() for line in complaint.splitlines()]
    told = [line for line in lines if line and not line.startswith(_BOILERPLATE)]
    return " / ".join(told[-most:]) or "without a word"
