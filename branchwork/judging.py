"""Whether a step did what its plan says, whatever its agent claims."""

from collections.abc import Sequence
from typing import NamedTuple

from branchwork.plan import Expect, Step


class Verdict(NamedTuple):
    """Why a step has not succeeded although its agent ended well."""

    name: str
    text: str


def judge(
    step: Step, *, changed: Sequence[str], missing: Sequence[str], unchanged: Sequence[str]
) -> Verdict | None:
    """None for a success.

    `changed` are all paths that differ from the step's base; `missing` and
    `unchanged` are those of `step.creates` that are not there, or as before.
    """
    if missing:
        return Verdict("MissingArtifact", f"{_listed(missing)} should be there and is not")
    if unchanged:
        return Verdict("NoChanges", f"{_listed(unchanged)} stands as it did before the step")
    if step.expected is Expect.CHANGES and not changed:
        return Verdict("NoChanges", "the plan expects changes, and nothing changed")
    if step.expected is Expect.NOTHING and changed:
        return Verdict(
            "UnexpectedChanges", f"the plan expects none, and {_listed(changed)} changed"
        )
    return None


def _listed(paths: Sequence[str], most: int = 5) -> str:
    """`a.py, b.py and 3 more`."""
    shown = ", ".join(paths[:most])
    return f"{shown} and {len(paths) - most} more" if len(paths) > most else shown
