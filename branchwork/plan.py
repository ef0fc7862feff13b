"""The plan: steps, what each needs, who does it.

A `Plan` that exists is one that can run: whatever can be seen to be wrong with
it without its repository is refused when it is made, as a `ValidationError`.
Errors of type `plan` carry `{"problems": (Problem, …)}` in their context, their
places told from where the error lies.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Self

from pydantic import (
    Field,
    JsonValue,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from branchwork.durations import Duration
from branchwork.fields import Command, Id, Params, RepositoryPath, raise_if
from branchwork.graph import BadGraphError, Graph, Problem, build_graph, nearest
from branchwork.labels import Labels
from branchwork.models import Written
from branchwork.steps import Agents, AgentSpec, Defaults, Expect, Retry, Step, step_problems

__all__ = [
    "MOST_STEPS",
    "AgentSpec",
    "Command",
    "Defaults",
    "Expect",
    "Id",
    "OnFailure",
    "Plan",
    "RepositoryPath",
    "Retry",
    "Step",
    "UnknownParamError",
]

MOST_STEPS = 2000
"""More would pass Temporal's limits for one history; see docs/decisions.md."""


class OnFailure(StrEnum):
    """What a step that did not succeed means for the others."""

    STOP = "stop"
    CONTINUE = "continue"


class UnknownParamError(ValueError):
    """A parameter was given that the plan does not declare; the text names the nearest."""


class Plan(Written):
    """The graph the user wrote."""

    plan: Id
    """Its name; run ids begin with it."""
    description: str = ""
    base: str | None = Field(default=None, min_length=1)
    """Branch, tag or commit that runs start from; default: what is checked out."""
    max_parallel: int = Field(default=8, ge=1, le=500, strict=True)
    """How many steps run at once."""
    on_failure: OnFailure = OnFailure.STOP
    deadline: Duration | None = None
    """How long a run may take altogether."""
    lost_after: Duration = Field(default=timedelta(seconds=30), ge=timedelta(seconds=1))
    """A worker that is silent for so long is taken for lost, and its steps are handed on."""
    params: Params = Field(default_factory=dict)
    """Values for prompts and commands; `branchwork run --param NAME=VALUE` overrides them."""
    agents: Agents = Field(default_factory=dict)
    """Agents by name, or just the command of one; `*` stands for every name not listed."""
    defaults: Defaults = Defaults()
    steps: tuple[Step, ...] = Field(max_length=MOST_STEPS, json_schema_extra={"minItems": 1})

    @field_validator("steps")
    @classmethod
    def _with_defaults(cls, steps: tuple[Step, ...], info: ValidationInfo) -> tuple[Step, ...]:
        # Not by min_length: it does not count entries that are wrong, and misleads beside them.
        raise_if([] if steps else [Problem((), "the plan has no steps")])
        defaults = info.data.get("defaults") or Defaults()
        return tuple(defaults.fill(step) for step in steps)

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        needs: Mapping[str, tuple[str, ...]] = {}
        problems: tuple[Problem, ...] = ()
        try:
            needs = self.graph.needs
        except BadGraphError as error:
            problems = error.problems
        raise_if([*self._step_problems(needs), *problems])
        return self

    @cached_property
    def graph(self) -> Graph:
        """Computed once per plan."""
        return build_graph(self.steps)

    @cached_property
    def by_id(self) -> Mapping[str, Step]:
        return {step.id: step for step in self.steps}

    def agent_of(self, step: Step) -> AgentSpec | None:
        """Who does `step`; None if its agent is not defined (yet)."""
        if step.run is not None:
            return AgentSpec(run=step.run)
        return self.agents.get(step.agent_name) or self.agents.get("*")

    def labels_of(self, step: Step) -> Labels:
        """What a worker must have to run `step`: by itself, its agent or the defaults."""
        agent = self.agent_of(step)
        said = (step.runs_on, agent.runs_on if agent else None, self.defaults.runs_on)
        return next((labels for labels in said if labels is not None), ())

    def with_agents(self, agents: Mapping[str, AgentSpec]) -> Self:
        """A plan with `agents` too; they win over its own of the same names."""
        return self.model_copy(update={"agents": {**self.agents, **agents}})

    def undefined_agents(self) -> tuple[Problem, ...]:
        """Agents that nothing defines, each at the first step that is for it."""
        first: dict[str, int] = {}
        for index, step in enumerate(self.steps):
            if self.agent_of(step) is None:
                first.setdefault(step.agent_name, index)
        return tuple(
            Problem(
                ("steps", index, "agent"),
                f"step {self.steps[index].id!r} is for agent {agent!r}, which nothing defines; add"
                f" it to 'agents:', or map it: --agent {agent}=COMMAND"
                f"{nearest(agent, self.agents)}",
            )
            for agent, index in first.items()
        )

    def with_params(self, params: Mapping[str, JsonValue]) -> Self:
        """A plan with other values for the parameters that it declares.

        Raises UnknownParamError for one that it does not declare.
        """
        for name in params:
            if name not in self.params:
                known = ", ".join(map(repr, self.params)) or "none"
                raise UnknownParamError(
                    f"the plan has no parameter {name!r}{nearest(name, self.params)};"
                    f" it declares {known}"
                )
        given = TypeAdapter[Mapping[str, JsonValue]](Params).validate_python(params)
        return self.model_copy(update={"params": {**self.params, **given}})

    def _step_problems(self, needs: Mapping[str, tuple[str, ...]]) -> list[Problem]:
        return [
            Problem(("steps", index, *problem.where), problem.text)
            for index, step in enumerate(self.steps)
            for problem in step_problems(step, self.params, needs.get(step.id))
        ]
