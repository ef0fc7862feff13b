"""Paths inside a repository, as plans name them. A trailing `/` means a folder."""

from pathlib import PurePosixPath

LONGEST = 1000
DEEPEST = 64

PATTERN = r"^(?![/~\s])(?!(.*/)?\.\.(/|$))(?!(.*/)?\.git(/|$))[^\x00-\x1f]+$"
"""What a JSON Schema can say of them."""


def bad_path(path: str) -> str | None:
    """What is wrong with a path of `creates` or `requires`; None if nothing is.

    Symlinks that leave the repository are seen only with the base at hand.
    """
    if len(path) > LONGEST:
        return f"{path[:60]!r}… is too long for a path: {len(path)} characters, {LONGEST} at most"
    parts = PurePosixPath(path).parts
    if path.startswith(("/", "~")):
        return f"{path!r} is absolute; write it from the top of the repository"
    if ".." in parts:
        return f"{path!r} leaves the repository"
    if ".git" in map(str.lower, parts):
        return f"{path!r} lies in git's own folder"
    return _no_path(path, parts)


def _no_path(path: str, parts: tuple[str, ...]) -> str | None:
    if path.strip() and not parts:
        return f"{path!r} is the whole repository; name a file or a folder in it"
    if path != path.strip() or not path.isprintable() or not parts:
        return f"{path!r} is not a path"
    if len(parts) > DEEPEST:
        return f"{path[:60]!r}… is too deep for a path: {len(parts)} levels, {DEEPEST} at most"
    return None


def plain(path: str) -> str:
    """`./a//b/` as `a/b`: the form in which paths are compared."""
    return str(PurePosixPath(path))


def parents(path: str) -> list[str]:
    """The folders around a plain path, the outermost first: `a` and `a/b` for `a/b/c`."""
    return [path[:index] for index, letter in enumerate(path) if letter == "/"]


def contains(folder: str, path: str) -> bool:
    """Whether `path` is `folder` or lies in it; both plain."""
    return path == folder or path.startswith(folder + "/")


def overlap(one: str, other: str) -> bool:
    """Whether one path contains the other; both plain."""
    return contains(one, other) or contains(other, one)
