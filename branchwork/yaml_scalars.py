"""Scalars by the core schema of YAML 1.2: `no` is text, and so is a date."""

import re

_WORDS = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_MOST_DIGITS = 300
_BASES = {"0o": 8, "0x": 16}


class BadScalarError(ValueError):
    """A scalar that no value can be made of."""


def bare_value(text: str) -> str | int | float | bool | None:
    """Of a scalar without quotes and tags. Raises BadScalarError."""
    if text in _WORDS:
        return _WORDS[text]
    whole = _WHOLE.fullmatch(text)
    if not whole and not _NUMBER.fullmatch(text):
        return quoted_value(text)
    if len(text) > _MOST_DIGITS:
        raise BadScalarError("this number is too long; write it in quotes if it is text")
    if whole:
        return int(text, _BASES.get(text[:2], 10))
    return float(re.sub(r"\.(?=[iInN])", "", text))


def quoted_value(text: str) -> str:
    """Raises BadScalarError for characters that neither JSON nor a process can take."""
    if "\0" in text:
        raise BadScalarError("text cannot hold a NUL character")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise BadScalarError("text cannot hold half of a surrogate pair")
    return text
