"""Flaws of Python modules, and what mends them.

The syntax tree tells the places, the text is edited: comments and layout stay.
"""

import ast
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple


class Edit(NamedTuple):
    """Bytes `start` to `end` of a module become `text`."""

    start: int
    end: int
    text: str
    what: str
    """For people: what is to be done there."""


class Module:
    """The source of a module, and where in it the nodes of its tree are."""

    def __init__(self, source: str) -> None:
        self.source = source.encode()
        self.tree = ast.parse(source)
        lines = self.source.splitlines(keepends=True)
        self._starts = [0, *accumulate(map(len, lines))]

    def start(self, node: ast.expr | ast.stmt | ast.arg | ast.ExceptHandler) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt | ast.arg) -> int:
        # Only nodes that were made, not parsed, have no end.
        return self._starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)

    def functions(self) -> list[ast.FunctionDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)]


def edits(module: Module, hints: Mapping[str, str]) -> list[Edit]:
    """All that can be mended, the last place first: no edit moves the place of a later one.

    `hints` tells the types that this project's names stand for.
    """
    found = [*_flaws(module)]
    for function in module.functions():
        found.extend(_argument_hints(module, function, hints))
        found.extend(_result_hint(module, function, hints))
    return sorted(found, reverse=True)


def apply(source: bytes, edit: Edit) -> bytes:
    return source[: edit.start] + edit.text.encode() + source[edit.end :]


def flaws(module: Module) -> list[str]:
    """What is wrong with a module, types apart."""
    return sorted({edit.what for edit in _flaws(module)})


def missing_hints(module: Module) -> list[str]:
    """Arguments and results without a type."""
    return [
        f"{function.name}: {name}"
        for function in module.functions()
        for name, hint in [
            *((argument.arg, argument.annotation) for argument in function.args.args),
            ("result", function.returns),
        ]
        if hint is None
    ]


def _flaws(module: Module) -> Iterator[Edit]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            place = module.start(node) + len("except")
            yield Edit(place, place, " Exception", "catch Exception, not Ctrl-C too")
        elif isinstance(node, ast.Compare):
            yield from _comparison_with_none(module, node)
        elif isinstance(node, ast.FunctionDef):
            yield from _shared_defaults(module, node)


def _comparison_with_none(module: Module, node: ast.Compare) -> Iterator[Edit]:
    right = node.comparators[0]
    if len(node.ops) > 1 or not (isinstance(right, ast.Constant) and right.value is None):
        return
    words = {ast.Eq: "is", ast.NotEq: "is not"}
    if word := words.get(type(node.ops[0])):
        what = f"compare with None by '{word}'"
        yield Edit(module.end(node.left), module.end(right), f" {word} None", what)


def _shared_defaults(module: Module, function: ast.FunctionDef) -> Iterator[Edit]:
    for argument, default in _defaults(function).items():
        if isinstance(default, ast.List | ast.Dict):
            empty = ast.unparse(default)
            what = f"{function.name}: {argument.arg} defaults to None, not to one {empty} for all"
            yield Edit(module.start(default), module.end(default), "None", what)
            first = _first_statement(function)
            margin = "\n" + " " * first.col_offset
            guard = f"if {argument.arg} is None:{margin}    {argument.arg} = {empty}{margin}"
            what = f"{function.name}: {argument.arg} is a new {empty} in every call"
            yield Edit(module.start(first), module.start(first), guard, what)


def _argument_hints(
    module: Module, function: ast.FunctionDef, hints: Mapping[str, str]
) -> Iterator[Edit]:
    defaults = _defaults(function)
    for argument in function.args.args:
        default = defaults.get(argument)
        hint = _argument_type(argument, default, hints)
        if argument.annotation is None and hint:
            what = f"{function.name} takes {argument.arg}: {hint}"
            after, before = module.end(argument), default and module.start(default)
            equals = " = " if before else ""
            yield Edit(after, before or after, f": {hint}{equals}", what)


def _argument_type(
    argument: ast.arg, default: ast.expr | None, hints: Mapping[str, str]
) -> str | None:
    hint = hints.get(argument.arg) or (_type(default, hints) if default else None)
    may_be_none = isinstance(default, ast.List | ast.Dict) or (
        isinstance(default, ast.Constant) and default.value is None
    )
    return f"{hint} | None" if hint and may_be_none else hint


def _result_hint(
    module: Module, function: ast.FunctionDef, hints: Mapping[str, str]
) -> Iterator[Edit]:
    returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    types = {_type(value, hints) if value else "None" for value in returned} or {"None"}
    if function.returns is None and None not in types:
        hint = " | ".join(sorted(filter(None, types), key=lambda name: (name == "None", name)))
        place = _end_of_head(module, function)
        yield Edit(place, place, f" -> {hint}", f"{function.name} returns {hint}")


def _type(value: ast.expr, hints: Mapping[str, str]) -> str | None:
    """None if it does not show."""
    if isinstance(value, ast.Constant):
        return "None" if value.value is None else type(value.value).__name__
    if isinstance(value, ast.Name):
        return hints.get(value.id)
    displays = {ast.Compare: "bool", ast.JoinedStr: "str", ast.List: "list", ast.Dict: "dict"}
    return displays.get(type(value))


def _defaults(function: ast.FunctionDef) -> dict[ast.arg, ast.expr]:
    given = function.args.defaults
    return dict(zip(function.args.args[len(function.args.args) - len(given) :], given, strict=True))


def _first_statement(function: ast.FunctionDef) -> ast.stmt:
    """The first after the docstring; a docstring alone is one too."""
    documented = ast.get_docstring(function) is not None and len(function.body) > 1
    return function.body[1 if documented else 0]


def _end_of_head(module: Module, function: ast.FunctionDef) -> int:
    """After the parenthesis that closes the arguments."""
    inner: list[ast.expr | ast.arg] = [*function.args.args, *function.args.defaults]
    last = max([module.start(function), *(module.end(node) for node in inner)])
    return module.source.index(b")", last) + 1
