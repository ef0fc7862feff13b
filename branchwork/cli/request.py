"""From a plan file and options to a request, refused here if it cannot run."""

import json
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from branchwork.cli.remote import commit_there, url_of
from branchwork.cli.repository import Repository
from branchwork.contract import RunRequest
from branchwork.errors import RefusedError
from branchwork.findings import PlanFileError
from branchwork.plan import Plan
from branchwork.plan_file import LoadedPlan, load_plan
from branchwork.problems import Problem
from branchwork.project_file import load_project, parse_agent_option


class Options(NamedTuple):
    """What the user adds to a plan for one run."""

    agents: Sequence[str] = ()
    params: Sequence[str] = ()
    base: str | None = None
    repository: str | None = None
    """A folder in it, or its URL; None for the one around here."""


class Prepared(NamedTuple):
    request: RunRequest
    loaded: LoadedPlan
    repository: Repository | None
    """None for one behind a URL."""


def prepare(file: Path, options: Options) -> Prepared:
    """Raises PlanFileError with every finding, or RefusedError."""
    if options.repository and (url := url_of(options.repository)):
        return _prepared_for_url(file, options, url)
    loaded = load_plan(file)
    repository = Repository.at(Path(options.repository or Path.cwd()))
    plan = with_agents(loaded.plan, options.agents, repository.top)
    params = _params(plan, options.params)
    base = repository.commit(options.base or plan.base or "HEAD")
    problems = [*plan.undefined_agents(), *base_problems(plan, repository, base)]
    if problems:
        raise PlanFileError(loaded.source.findings(problems))
    request = RunRequest(plan=plan, repository=str(repository.top), base=base, params=params)
    return Prepared(request, loaded, repository)


def _prepared_for_url(file: Path, options: Options, url: str) -> Prepared:
    """What only the base can tell is found by the worker, which fetches it."""
    loaded = load_plan(file)
    here = Repository.around(Path.cwd())
    plan = with_agents(loaded.plan, options.agents, here.top if here else None)
    params = _params(plan, options.params)
    revision = options.base or plan.base or "HEAD"
    base = commit_there(url, revision) or revision
    if problems := plan.undefined_agents():
        raise PlanFileError(loaded.source.findings(problems))
    return Prepared(RunRequest(plan=plan, repository=url, base=base, params=params), loaded, None)


def with_agents(plan: Plan, options: Sequence[str], top: Path | None) -> Plan:
    """Agents of the command line win over those of the plan, these over `branchwork.yaml`."""
    project = load_project(top).agents if top else {}
    try:
        given = dict(map(parse_agent_option, options))
    except ValueError as error:
        raise RefusedError(str(error)) from error
    missing = {name: spec for name, spec in project.items() if name not in plan.agents}
    return plan.with_agents({**missing, **given})


def base_problems(plan: Plan, repository: Repository, base: str) -> list[Problem]:
    """Paths that steps require and nobody has, and paths that a symlink of `base` leads out."""
    missing = repository.missing(base, [path for _, path in plan.graph.from_base])
    written = [path for step in plan.steps for path in (*step.creates, *step.requires)]
    leaving = repository.leaving(base, written)
    return [
        Problem(("steps", index, field, position), text)
        for index, step in enumerate(plan.steps)
        for field, paths, wanting in (
            ("requires", step.requires, missing - leaving),
            ("creates", step.creates, set[str]()),
        )
        for position, path in enumerate(paths)
        for text in _wrong(step.id, path, base, missing=wanting, leaving=leaving)
    ]


def _wrong(
    step: str, path: str, base: str, *, missing: Container[str], leaving: Container[str]
) -> Iterator[str]:
    if path in leaving:
        yield f"{path!r} leaves the repository through a symbolic link of the base {base[:10]}"
    if path in missing:
        yield (
            f"step {step!r} requires {path!r}, which no step creates and the base"
            f" {base[:10]} does not hold"
        )


def _params(plan: Plan, options: Sequence[str]) -> dict[str, Any]:
    given = dict(map(_param, options))
    try:
        plan.with_params(given)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    return given


def _param(option: str) -> tuple[str, Any]:
    """`count=3` is a number, `name=x` a string: JSON where it reads as JSON."""
    name, equals, value = option.partition("=")
    if not equals:
        raise RefusedError(f"--param {option!r}: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
