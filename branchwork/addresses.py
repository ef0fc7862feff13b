"""What a run's repository is called: an absolute path on one host, or a URL that any can reach."""

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, WithJsonSchema

SCHEMES = ("https", "http", "ssh", "git", "file")

_SCP = re.compile(r"(?P<user>[A-Za-z0-9][\w.+-]*)@(?P<host>[A-Za-z0-9][\w.-]*):(?P<path>[^-].*)")
_HOST = re.compile(r"([A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.%]+\])(:\d+)?")
_LONGEST = 2000
_TOKEN_LENGTH = 20
"""Forges take an access token for the user of an https URL; no person's name is as long."""

_PATTERN = r"^(/.*|(https?|ssh|git|file)://.+|[A-Za-z0-9][\w.+-]*@[A-Za-z0-9][\w.-]*:[^-].*)$"


def is_url(repository: str) -> bool:
    return not repository.startswith("/")


def bad_address(repository: str) -> str | None:
    """What is wrong with the name of a repository; None if nothing is.

    Never repeats one that may hold a secret.
    """
    if repository.startswith("/"):
        return None if "\0" not in repository else "a path cannot hold a NUL character"
    if len(repository) > _LONGEST or not repository.isprintable() or " " in repository:
        return (
            f"a repository is an absolute path, or a URL of at most {_LONGEST} characters without"
            " spaces and control characters"
        )
    if _SCP.fullmatch(repository):
        return None
    scheme, colon, _ = repository.partition("://")
    if not colon or scheme not in SCHEMES:
        return (
            f"{repository!r} is neither an absolute path nor a URL that git can fetch from and"
            " push to: https://, ssh://, git://, file:// or user@host:path"
        )
    return _bad_url(repository)


def _bad_url(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "the repository's URL cannot be read; see its host and port"
    if _holds_secret(parts):
        return (
            "the repository's URL holds a password or a token, which would be kept in histories"
            " and logs; leave it out, and let git ask a credential helper, an ssh agent or"
            " GIT_ASKPASS on the worker's host"
        )
    if parts.query or parts.fragment:
        return "the repository's URL has a '?' or a '#' in it; leave out what follows"
    return _bad_place(url, parts)


def _bad_place(url: str, parts: SplitResult) -> str | None:
    if parts.scheme == "file":
        is_good = parts.netloc in ("", "localhost") and parts.path.strip("/")
        return None if is_good else "write a file URL as file:///absolute/path"
    if not _HOST.fullmatch(parts.netloc.rpartition("@")[2]):
        return f"{url!r} names no host"
    return None if parts.path.strip("/") else f"{url!r} names a host, but no repository on it"


def _holds_secret(parts: SplitResult) -> bool:
    if parts.password is not None:
        return True
    by_http = parts.scheme in ("http", "https")
    return by_http and len(parts.username or "") >= _TOKEN_LENGTH


def _address(repository: str) -> str:
    if wrong := bad_address(repository):
        raise ValueError(wrong)
    return repository


RepositoryAddress = Annotated[
    str,
    AfterValidator(_address),
    WithJsonSchema({"type": "string", "pattern": _PATTERN}),
]
