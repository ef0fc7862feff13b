"""Labels: which workers may do a step. A task queue for each set of them that a step names."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

MOST_LABELS = 4
"""Of a worker, which serves a queue for every subset of its own: sixteen for four."""

_LONGEST = 40
_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"
_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]*")

Labels = tuple[str, ...]
"""Sorted, each once."""


def bad_labels(labels: Sequence[str]) -> str | None:
    """What is wrong with a worker's or a step's labels; None if nothing is."""
    for label in labels:
        if not _LABEL.fullmatch(label) or len(label) > _LONGEST:
            return (
                f"{label!r} is not a label: 1 to {_LONGEST} of a-z, 0-9, '.', '_' and '-',"
                " the first a letter or digit"
            )
    if len(set(labels)) > MOST_LABELS:
        return (
            f"{len(set(labels))} labels are too many, at most {MOST_LABELS} are served: a worker"
            " takes the steps of every subset of its labels"
        )
    return None


def sorted_labels(labels: Iterable[str]) -> Labels:
    """The same set is always written the same way."""
    return tuple(sorted(set(labels)))


def subsets(labels: Labels) -> Iterator[Labels]:
    """All that a worker with these labels serves, the empty one first."""
    for size in range(len(labels) + 1):
        yield from combinations(labels, size)


def told_labels(labels: Labels) -> str:
    """As a plan says it."""
    return f"runs_on: [{', '.join(labels)}]"


def _labels(labels: tuple[str, ...]) -> Labels:
    if wrong := bad_labels(labels):
        raise ValueError(wrong)
    return sorted_labels(labels)


def _list(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(f"labels are a list: write [{value}]")  # noqa: TRY004  # pydantic passes a TypeError on
    return value


WrittenLabels = Annotated[
    Labels,
    BeforeValidator(_list),
    AfterValidator(_labels),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "pattern": _PATTERN, "maxLength": _LONGEST},
            "maxItems": MOST_LABELS,
            "uniqueItems": True,
        }
    ),
]
