"""What stands at the paths of a commit, as `git cat-file` answers it; who asks git is another's."""

from collections.abc import Sequence
from typing import NamedTuple

from branchwork.paths import plain

OPTIONS = ("--batch-check=%(objecttype) %(objectname)", "--follow-symlinks", "-z")
"""Of `git cat-file`, which gets the `question` on its stdin."""


class Thing(NamedTuple):
    """What stands at a path of a commit, symlinks followed."""

    kind: str
    """blob, tree, or commit for a submodule; symlink for one that leaves the repository."""
    name: str = ""
    """Object id: equal for equal content."""

    def satisfies(self, path: str) -> bool:
        return self.kind in (("tree",) if path.endswith("/") else ("blob", "tree", "commit"))

    @property
    def leads_out(self) -> bool:
        return self.kind == "symlink"


def question(places: Sequence[tuple[str, str]]) -> str:
    """For each (commit, path)."""
    return "".join(f"{commit}:{plain(path)}\0" for commit, path in places)


def answers(raw: bytes, places: Sequence[tuple[str, str]]) -> list[Thing]:
    """What git printed in answer to the question about `places`."""
    things = []
    for commit, path in places:
        asked = f"{commit}:{plain(path)}".encode("utf-8", "surrogateescape")
        thing, raw = _next_thing(raw, asked)
        things.append(thing)
    return things


def _next_thing(raw: bytes, asked: bytes) -> tuple[Thing, bytes]:
    """The first answer in `raw`, and what follows it."""
    if raw.startswith(asked):
        return Thing("missing"), raw[len(asked) :].partition(b"\n")[2]
    line, _, rest = raw.partition(b"\n")
    kind, detail = line.decode().split(" ")
    if kind in ("symlink", "dangling", "loop", "notdir"):
        # The detail is the length of the text that follows.
        return Thing(kind), rest[int(detail) + 1 :]
    return Thing(kind, detail), rest
