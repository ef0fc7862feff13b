"""Durations as people write them: `90s`, `30m`, `1h30m`, `2d`, `500ms`."""

import json
import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

PATTERN = r"^(?=.*[1-9])(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m(?!s))?(?:[0-9]+s)?(?:[0-9]+ms)?$"
_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_SHORTEST = _UNITS["ms"]
_LONGEST = timedelta(days=366)
_LONGEST_TEXT = 40


def parse_duration(text: str) -> timedelta:
    """Raises ValueError with a sentence for the user; zero and more than 366 days are refused."""
    parts = re.findall(r"([0-9]+)(ms|[dhms])", text[:_LONGEST_TEXT])
    if parts and not any(int(count) for count, _ in parts):
        raise ValueError(f"{text!r} is no time at all; write it as 90s, 30m or 1h30m")
    if len(text) > _LONGEST_TEXT or not re.fullmatch(PATTERN.rstrip("$"), text):
        raise ValueError(f"{text!r} is not a duration; write it as 90s, 30m or 1h30m")
    # Each part by itself, because timedelta cannot hold what thirty digits can say.
    if any(int(count) > _LONGEST / _UNITS[unit] for count, unit in parts):
        raise ValueError(f"{text!r} is longer than 366d")
    return _bounded(sum((int(count) * _UNITS[unit] for count, unit in parts), timedelta()))


def format_duration(duration: timedelta) -> str:
    """The shortest writing, seconds rounded down: `1h30m`; under a second `0s`."""
    left, parts = int(duration.total_seconds()), []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(_UNITS[unit].total_seconds()))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def write_duration(duration: timedelta) -> str:
    """To the millisecond, as `parse_duration` reads it back."""
    whole, milliseconds = divmod(duration // _SHORTEST, 1000)
    parts = [format_duration(timedelta(seconds=whole))] if whole else []
    return "".join([*parts, f"{milliseconds}ms"] if milliseconds else parts)


def _bounded(duration: timedelta) -> timedelta:
    if not _SHORTEST <= duration <= _LONGEST:
        raise ValueError(f"{duration} is out of bounds; a duration lies between 1ms and 366d")
    return duration - duration % _SHORTEST


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return _bounded(value)
    if isinstance(value, str):
        return parse_duration(value)
    shown = json.dumps(value, default=repr)
    raise ValueError(f"{shown} is not a duration; write it with its unit, as 90s, 30m or 1h30m")


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(write_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["90s", "30m", "1h30m"]}),
]
