"""The kinds of values that plans are made of, each with what is wrong with a bad one."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, WithJsonSchema
from pydantic_core import PydanticCustomError

from branchwork.names import bad_id
from branchwork.paths import LONGEST as LONGEST_PATH
from branchwork.paths import PATTERN as PATH_PATTERN
from branchwork.paths import bad_path
from branchwork.problems import Problem

_ID_PATTERN = r"^(?!.*\.\.)(?!.*\.lock$)[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9_-])?$"
_VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEEPEST_PARAM = 50


def refusal(problems: Sequence[Problem]) -> PydanticCustomError:
    """A validation error of type `plan`, which carries each problem with its place."""
    text = "; ".join(problem.text for problem in problems)
    return PydanticCustomError("plan", "{text}", {"text": text, "problems": tuple(problems)})


def _id(name: str) -> str:
    if wrong := bad_id(name):
        raise ValueError(wrong)
    return name


def _path(path: str) -> str:
    if wrong := bad_path(path):
        raise ValueError(wrong)
    return path


def _command(value: Any) -> Any:
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("a command is text, or a list of text: a program and its arguments")
    if not parts or not parts[0].strip():
        raise ValueError("the command is empty")
    if any("\0" in part for part in parts):
        raise ValueError("a command cannot hold a NUL character")
    return value if isinstance(value, str) else tuple(parts)


def _environment(value: Any) -> dict[str, str | None]:
    """`[TOKEN]` as `{TOKEN: null}`."""
    if isinstance(value, list | tuple):
        raise_if([wrong for index, name in enumerate(value) for wrong in _variable((index,), name)])
        return dict.fromkeys(cast("Sequence[str]", value))
    if not isinstance(value, Mapping):
        raise ValueError("an environment is a list of names, or a mapping of names to text")  # noqa: TRY004 — pydantic passes a TypeError on
    raise_if(
        [
            wrong
            for name, text in value.items()
            for wrong in (*_variable((name, "[key]"), name), *_variable_text(name, text))
        ]
    )
    return dict(value)


def raise_if(problems: Sequence[Problem]) -> None:
    if problems:
        raise refusal(problems)


def _variable(where: tuple[str | int, ...], name: Any) -> Iterator[Problem]:
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        text = f"{name!r} is not a name for an environment variable: letters, digits and '_'"
        yield Problem(where, text)


def _variable_text(name: str, text: Any) -> Iterator[Problem]:
    if text is not None and not isinstance(text, str):
        yield Problem((name,), f"the value of {name!r} must be text; write it in quotes")
    elif text is not None and "\0" in text:
        yield Problem((name,), f"the value of {name!r} cannot hold a NUL character")


def _params(params: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    raise_if(list(_unwritable((), cast("JsonValue", params))))
    return params


def _unwritable(where: tuple[str | int, ...], value: JsonValue) -> Iterator[Problem]:
    """What JSON cannot write, though Python's reader and writer can."""
    if len(where) > _DEEPEST_PARAM:
        yield Problem(where, f"is nested more than {_DEEPEST_PARAM} deep")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(where, f"{value} is not a number that JSON can write")
    elif isinstance(value, str) and not _is_unicode(value):
        yield Problem(where, f"{value!r} holds half of a surrogate pair")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _unwritable((*where, key, "[key]"), key)
            yield from _unwritable((*where, key), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unwritable((*where, index), inner)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


Id = Annotated[str, AfterValidator(_id), Field(json_schema_extra={"pattern": _ID_PATTERN})]
RepositoryPath = Annotated[
    str,
    AfterValidator(_path),
    WithJsonSchema(
        {"type": "string", "pattern": PATH_PATTERN, "minLength": 1, "maxLength": LONGEST_PATH}
    ),
]
Command = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_command),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"\S"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        }
    ),
]
Environment = Annotated[
    Mapping[str, str | None],
    BeforeValidator(_environment),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "object",
                    "propertyNames": {"pattern": _VARIABLE_PATTERN},
                    "additionalProperties": {"type": ["string", "null"]},
                },
                {"type": "array", "items": {"type": "string", "pattern": _VARIABLE_PATTERN}},
            ]
        }
    ),
]
Params = Annotated[
    Mapping[str, JsonValue],
    AfterValidator(_params),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]
