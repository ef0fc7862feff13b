"""What is wrong with something that people wrote, and the name they may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

_LONGEST_NAME = 100


class Problem(NamedTuple):
    """Something wrong with a plan, and where: keys and positions from its top.

    A last entry `[key]` means the key itself, not its value.
    """

    where: tuple[str | int, ...]
    text: str


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'lexer'?`, or nothing where no known name is near."""
    # Comparing is quadratic in the length, and names come from strangers.
    if len(name) > _LONGEST_NAME:
        return ""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
