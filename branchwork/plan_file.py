"""Plan files: read, or refused with everything that is wrong with them, each in its place."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema

from branchwork.durations import write_duration
from branchwork.findings import Finding, PlanFileError, Source, parse_source, read_source
from branchwork.graph import BadGraphError, build_graph
from branchwork.paths import bad_path
from branchwork.plan import Plan
from branchwork.problems import Problem
from branchwork.sentences import validated
from branchwork.steps import Defaults, Step, step_problems
from branchwork.yaml_nodes import Position

__all__ = [
    "Finding",
    "LoadedPlan",
    "PlanFileError",
    "Position",
    "load_plan",
    "load_plan_text",
    "plan_schema",
]

_NAMELESS = "\0"
_FOREIGN = (
    "'workflow:' begins a file of another system, whose schema is not understood yet;"
    " a plan begins with 'plan:' and has its 'steps:' beside that"
)


class _Schema(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        """Durations as plans write them, where pydantic would write PT1H."""
        return write_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


@dataclass(frozen=True)
class LoadedPlan:
    """A plan and the file it came from."""

    plan: Plan
    source: Source
    warnings: tuple[Finding, ...]

    def locate(self, where: tuple[str | int, ...]) -> Position:
        """Where the value at `where` stands; what is nearest around it, if it is not written."""
        return self.source.locate(where)


def load_plan(path: Path) -> LoadedPlan:
    """Raises PlanFileError with all that is wrong, in file order."""
    return _loaded(read_source(path))


def load_plan_text(text: str, name: str) -> LoadedPlan:
    """As `load_plan`, of a file called `name`."""
    return _loaded(parse_source(text, name))


def plan_schema() -> dict[str, Any]:
    """The JSON Schema of a plan file, for editors; the graph it cannot check."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Plan.model_json_schema(schema_generator=_Schema),
        "title": "Branchwork plan",
    }


def _loaded(source: Source) -> LoadedPlan:
    value = source.value()
    if isinstance(value, dict) and "workflow" in value:
        raise PlanFileError(source.findings([Problem(("workflow", "[key]"), _FOREIGN)]))
    plan = validated(source, Plan, _hidden_problems)
    return LoadedPlan(plan, source, source.findings(plan.graph.warnings))


@dataclass(frozen=True)
class _Outline:
    """What the graph sees of a step that is no step yet."""

    id: str
    needs: tuple[str, ...]
    requires: tuple[str, ...]
    creates: tuple[str, ...]

    def reduced(self, known: Container[str]) -> "_Outline":
        """Without what could only be wrong for want of other steps' ids."""
        return replace(self, needs=tuple(need for need in self.needs if need in known), creates=())


def _hidden_problems(value: Mapping[str, Any]) -> list[Problem]:
    """What validation does not come to when a field is wrong, found in what is right."""
    steps = value.get("steps")
    if not isinstance(steps, list):
        return []
    of_steps = [
        Problem(("steps", index, *problem.where), problem.text)
        for index, step in enumerate(steps)
        for problem in _step_problems(step, value.get("defaults"), value.get("params"))
    ]
    return [*of_steps, *_graph_problems(steps)]


def _step_problems(step: Any, defaults: Any, params: Any) -> list[Problem]:
    try:
        filled = Defaults.model_validate(defaults or {}).fill(Step.model_validate(step))
    except ValidationError:
        return []
    return step_problems(filled, params if isinstance(params, dict) else {})


def _graph_problems(steps: list[Any]) -> list[Problem]:
    outlines = [_outline(index, step) for index, step in enumerate(steps)]
    if any(outline.id.startswith(_NAMELESS) for outline in outlines):
        # Whoever needs a step that has no id would be told that it does not exist.
        known = {outline.id: None for outline in outlines}
        outlines = [outline.reduced(known) for outline in outlines]
    try:
        build_graph(outlines)
    except BadGraphError as error:
        return list(error.problems)
    return []


def _outline(index: int, step: Any) -> _Outline:
    nameless = f"{_NAMELESS}{index}"
    said = step if isinstance(step, dict) else {}
    return _Outline(
        id=_text(said.get("id"), nameless),
        needs=tuple(_text(need, nameless) for need in _entries(said, "needs")),
        requires=tuple(_usable_path(path, nameless) for path in _entries(said, "requires")),
        creates=tuple(_usable_path(path, nameless) for path in _entries(said, "creates")),
    )


def _entries(said: Mapping[str, Any], key: str) -> list[Any]:
    entries = said.get(key)
    return entries if isinstance(entries, list) else []


def _text(value: Any, otherwise: str) -> str:
    return value if isinstance(value, str) else otherwise


def _usable_path(path: Any, otherwise: str) -> str:
    return path if isinstance(path, str) and not bad_path(path) else otherwise
