"""Prompts are templates: sandboxed, and strict about names that are not there."""

from collections.abc import Container, Iterator, Mapping
from typing import Any, TypeVar

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from branchwork.problems import nearest

NAMES = ("run", "step", "agent", "action", "attempt", "creates", "requires", "params", "outputs")
"""What a prompt may name. `outputs` holds the outputs of the steps it needs, by id."""

_BOUND_INSIDE = ("loop", "caller", "varargs", "kwargs")
_ASKS_WHETHER_IT_IS_THERE = ("defined", "undefined", "default", "d")
_Kind = TypeVar("_Kind", bound=nodes.Node)


class BadPromptError(ValueError):
    """A prompt could not be made; the text says why."""


def bad_prompt(
    template: str, params: Mapping[str, Any], needs: Container[str] | None = None
) -> str | None:
    """What is wrong with a template as far as it shows before the run; None if nothing does.

    `needs` are the steps whose outputs it may name; None lets it name any.
    """
    if "{" not in template:
        return None
    environment = _environment()
    try:
        tree = environment.parse(template)
        return next(_wrong(_Template(tree), environment, params, needs), None)
    except TemplateSyntaxError as error:
        return f"is no template: line {error.lineno}: {error.message}"
    except RecursionError:
        return "is no template: it is nested too deep"


def render_prompt(template: str, values: Mapping[str, Any]) -> str:
    """Raises BadPromptError where a name is undefined or an expression fails."""
    if "{" not in template:
        # Compiling costs milliseconds, and most steps of a command have nothing to fill in.
        return template
    try:
        return _environment().from_string(template).render(values)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise BadPromptError(f"the prompt cannot be made: {error}") from error


class _Template:
    """What stands in a template, collected in one walk: a run may begin with 2,000 of them."""

    def __init__(self, tree: nodes.Template) -> None:
        self.nodes = list(tree.find_all(nodes.Node))
        names = self.all(nodes.Name)
        macros = [macro.name for macro in self.all(nodes.Macro)]
        self.bound = [*(name.name for name in names if name.ctx != "load"), *macros]
        """Names that the template makes itself, wherever they then hold."""
        self.loaded = [name.name for name in names if name.ctx == "load"]
        self.helpers = [*self.all(nodes.Filter), *self.all(nodes.Test)]

    def all(self, *kinds: type[_Kind]) -> list[_Kind]:
        return [node for node in self.nodes if isinstance(node, kinds)]

    def parts(self, of: str) -> list[str]:
        """`x` for each `of.x` and `of['x']`; not where it is asked whether that is there."""
        if of in self.bound or of not in self.loaded:
            return []
        asked = [id(one.node) for one in self.helpers if one.name in _ASKS_WHETHER_IT_IS_THERE]
        found = [*self._attributes(), *self._items()]
        return [
            name
            for owner, name, node in found
            if _is_name(owner, of) and id(node) not in asked and not hasattr(dict, name)
        ]

    def _attributes(self) -> Iterator[tuple[nodes.Node, str, nodes.Node]]:
        return ((node.node, node.attr, node) for node in self.all(nodes.Getattr))

    def _items(self) -> Iterator[tuple[nodes.Node, str, nodes.Node]]:
        for node in self.all(nodes.Getitem):
            if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
                yield node.node, node.arg.value, node


def _wrong(
    template: _Template,
    environment: ImmutableSandboxedEnvironment,
    params: Mapping[str, Any],
    needs: Container[str] | None,
) -> Iterator[str]:
    if template.all(nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport):
        yield "takes in another template; it must be whole"
    known = (*NAMES, *_BOUND_INSIDE, *environment.globals, *template.bound)
    for name in template.loaded:
        if name not in known:
            param = f"; did you mean 'params.{name}'?" if name in params else ""
            guess = param or nearest(name, NAMES)
            yield f"names {name!r}; it may name {', '.join(NAMES)}{guess}"
    yield from _unknown_helpers(template, environment)
    for name in template.parts("params"):
        if name not in params:
            text = f"names params.{name}, which the plan's 'params' does not hold"
            yield f"{text}{nearest(name, params)}"
    for name in template.parts("outputs"):
        if needs is not None and name not in needs:
            yield f"names the output of {name!r}, which the step does not need"


def _unknown_helpers(
    template: _Template, environment: ImmutableSandboxedEnvironment
) -> Iterator[str]:
    for node in template.helpers:
        is_filter = isinstance(node, nodes.Filter)
        known: Mapping[str, Any] = environment.filters if is_filter else environment.tests
        if node.name not in known:
            word = "filter" if is_filter else "test"
            yield f"uses the {word} {node.name!r}, which there is not{nearest(node.name, known)}"


def _is_name(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Name) and node.name == name


def _environment() -> ImmutableSandboxedEnvironment:
    # Prompts are plain text for programs, not HTML; escaping would change them.
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
