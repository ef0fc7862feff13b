"""Validation errors in plain words, with their places."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from branchwork.findings import PlanFileError, Source
from branchwork.problems import Problem, nearest

_Model = TypeVar("_Model", bound=BaseModel)

_EXPECTED: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
}
_HINTS: Mapping[str, str] = {
    "string_type": "; write it in quotes",
    "bool_type": "; YAML 1.2 knows no other words for them",
    "tuple_type": "; write it in brackets: [{}]",
}
_LONGEST_SHOWN = 60


def validated(
    source: Source,
    model: type[_Model],
    more: Callable[[Mapping[str, Any]], list[Problem]] = lambda _: [],
) -> _Model:
    """What `source` holds as a `model`.

    Raises PlanFileError with all that is wrong; where fields are, `more` may add
    what validation then does not come to.
    """
    value = source.value()
    if not isinstance(value, dict):
        found = "empty" if value is None else f"{shown(value)}, not a mapping"
        problem = Problem((), f"the file is {found}; it must hold keys with values")
        raise PlanFileError(source.findings([problem]))
    try:
        made = model.model_validate(value)
    except ValidationError as error:
        problems = problems_of(error, model)
        said = {problem.where: None for problem in problems}
        hidden = [problem for problem in more(value) if problem.where not in said]
        raise PlanFileError(source.findings([*problems, *hidden])) from error
    if source.tree.wrong:
        raise PlanFileError(source.findings([]))
    return made


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """What `error` says of a value that was to be a `model`."""
    details = error.errors(include_url=False)
    return [problem for detail in details for problem in _problems(detail, model)]


def shown(value: object) -> str:
    """A value as YAML would write it, if it is short; else what it is."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty"
    written = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return written if len(written) <= _LONGEST_SHOWN else f"{written[:_LONGEST_SHOWN]}…"


def _problems(detail: ErrorDetails, model: type[BaseModel]) -> list[Problem]:
    where, kind = detail["loc"], detail["type"]
    if kind == "plan":
        return [Problem((*where, *inner), text) for inner, text in detail["ctx"]["problems"]]
    place = (*where, "[key]") if kind == "extra_forbidden" else where
    return [Problem(place, _sentence(detail, model))]


def _sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    if detail["type"] in _EXPECTED:
        return _wrong_kind(detail)
    say = _SENTENCES.get(detail["type"])
    return say(detail, model) if say else f"{_label(detail)}: {detail['msg']}"


def _wrong_kind(detail: ErrorDetails) -> str:
    value, kind = detail["input"], detail["type"]
    is_scalar = isinstance(value, str | int | float)
    hint = _HINTS.get(kind, "").format(value) if is_scalar else ""
    if isinstance(value, str) and (len(value) > _LONGEST_SHOWN or kind == "string_type"):
        hint = ""
    return f"{_label(detail)} must be {_EXPECTED[kind]}, and is {shown(value)}{hint}"


def _label(detail: ErrorDetails) -> str:
    """`'timeout'`, `entry 2 of 'needs'`, or `this` for the whole file."""
    where = detail["loc"]
    if where and isinstance(where[-1], int):
        owner = f" of {where[-2]!r}" if len(where) > 1 else ""
        return f"entry {where[-1] + 1}{owner}"
    return repr(where[-1]) if where else "this"


def _unknown_key(detail: ErrorDetails, model: type[BaseModel]) -> str:
    *around, key = detail["loc"]
    known = list(_model_at(model, around).model_fields)
    guess = nearest(str(key), known) or f"; there are {', '.join(known)}"
    return f"the key {key!r} is unknown here{guess}"


def _missing(detail: ErrorDetails, model: type[BaseModel]) -> str:
    *around, key = detail["loc"]
    about = _model_at(model, around).model_fields[str(key)].description or ""
    reason = f": {about.rstrip('.')}" if about else ""
    return f"the key {key!r} is missing here{reason}"


def _model_at(model: type[BaseModel], where: list[str | int]) -> type[BaseModel]:
    """The model of the mapping at `where`, by the types of the fields on the way."""
    fields = model.model_fields
    for key in where:
        if isinstance(key, str) and key in fields and (inner := _model_in(fields[key].annotation)):
            model, fields = inner, inner.model_fields
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _own(detail: ErrorDetails, _: type[BaseModel]) -> str:
    return str(detail["ctx"]["error"])


def _choice(detail: ErrorDetails, _: type[BaseModel]) -> str:
    options = detail["ctx"]["expected"].replace("' or '", "', '").replace(" or ", ", ")
    guess = nearest(str(detail["input"]), [option.strip("'") for option in options.split(", ")])
    return f"{_label(detail)} is {shown(detail['input'])}; it can be {options}{guess}"


def _too_long(detail: ErrorDetails, _: type[BaseModel]) -> str:
    limit, length = detail["ctx"]["max_length"], len(detail["input"])
    return f"{_label(detail)} has {length:,} entries; {limit:,} are the most"


def _too_many_letters(detail: ErrorDetails, _: type[BaseModel]) -> str:
    limit, length = detail["ctx"]["max_length"], len(detail["input"])
    return f"{_label(detail)} has {length:,} characters; {limit:,} are the most"


def _limit(words: str, name: str) -> Callable[[ErrorDetails, type[BaseModel]], str]:
    def say(detail: ErrorDetails, _: type[BaseModel]) -> str:
        bound = f"{detail['ctx'][name]:g}"
        return f"{_label(detail)} is {shown(detail['input'])}; it must be {words} {bound}"

    return say


_SENTENCES: Mapping[str, Callable[[ErrorDetails, type[BaseModel]], str]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "value_error": _own,
    "enum": _choice,
    "literal_error": _choice,
    "too_long": _too_long,
    "string_too_long": _too_many_letters,
    "string_too_short": lambda detail, _: f"{_label(detail)} is empty",
    "greater_than_equal": _limit("at least", "ge"),
    "less_than_equal": _limit("at most", "le"),
}
