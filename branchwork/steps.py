"""A step of a plan: what it needs, who does it, what must come of it."""

from collections.abc import Container, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, StrictBool, model_validator

from branchwork.durations import Duration
from branchwork.fields import Command, Environment, Id, RepositoryPath, raise_if
from branchwork.labels import WrittenLabels
from branchwork.models import Written
from branchwork.problems import Problem
from branchwork.prompts import bad_prompt


class Expect(StrEnum):
    """What a step's worktree must look like for the step to succeed."""

    CHANGES = "changes"
    NOTHING = "nothing"
    ANY = "any"


class Retry(Written):
    """Further attempts of a step whose agent failed or timed out."""

    attempts: int = Field(default=1, ge=1, le=100, strict=True)
    """Attempts before the step has failed, the first included."""
    initial: Duration = timedelta(seconds=10)
    """Wait before the second attempt."""
    maximum: Duration = timedelta(minutes=10)
    """The longest wait between two attempts, jitter included."""
    multiplier: float = Field(default=2.0, ge=1, le=100, strict=True)
    """How much longer each wait is than the one before."""


class AgentSpec(Written):
    """Who does the work of the steps that name it."""

    use: Literal["command"] = "command"
    """The kind of agent."""
    run: Command
    """A script for `/bin/sh -e`, or a program and its arguments, started as they are."""
    env: Environment = Field(default_factory=dict)
    """Environment for its processes: a name takes the worker's value, `NAME: value` sets one."""
    runs_on: WrittenLabels | None = None
    """Labels that a worker must have to run it; for steps that say nothing of it."""


def _spec(value: Any) -> Any:
    """A command alone as `{run: command}`."""
    return {"run": value} if isinstance(value, str | list | tuple) else value


Agents = Mapping[
    str,
    Annotated[AgentSpec, BeforeValidator(_spec, json_schema_input_type=AgentSpec | Command)],
]


class Step(Written):
    """One unit of agent work, done in its own worktree."""

    id: Id
    """Unique within the plan; also part of refs and paths."""
    agent: str | None = Field(default=None, min_length=1, max_length=100)
    """Name of the agent that does it. Either this or `run`."""
    action: str | None = None
    """What the agent is asked to do, in a word; it reads it in `BRANCHWORK_ACTION`."""
    prompt: str | None = None
    """What the agent is asked to do, in full: a template, see docs/plans.md."""
    run: Command | None = None
    """A script for `/bin/sh -e`, or a program and its arguments, started as they are."""
    needs: tuple[str, ...] = ()
    """Steps that must succeed first; this one starts from the merge of their results."""
    requires: tuple[RepositoryPath, ...] = ()
    """Paths it starts from: an edge to whoever creates them; otherwise the base must hold them."""
    creates: tuple[RepositoryPath, ...] = ()
    """Paths it must leave behind, changed. A trailing `/` is a folder."""
    expect: Expect | None = None
    """What must have changed in the end; default `changes` if it creates something, else `any`."""
    timeout: Duration = timedelta(hours=1)
    """Wall-clock limit of one attempt's agent."""
    stall: Duration | None = None
    """How long an attempt's agent may neither print anything nor change a file."""
    total: Duration | None = None
    """Wall-clock limit of all attempts of the step together, waits between them included."""
    retry: Retry = Retry()
    optional: StrictBool = False
    """Whether the run may succeed without it."""
    env: Environment = Field(default_factory=dict)
    """Environment for its processes: a name takes the worker's value, `NAME: value` sets one."""
    runs_on: WrittenLabels | None = None
    """Labels that a worker must have to run it; wins over its agent's. `[]` is any worker."""

    @property
    def expected(self) -> Expect:
        return self.expect or (Expect.CHANGES if self.creates else Expect.ANY)

    @property
    def agent_name(self) -> str:
        """The agent's name in reports; `command` for a step with a `run` of its own."""
        return self.agent or "command"

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        raise_if(contradictions(self))
        return self


class Defaults(Written):
    """What holds for every step that says nothing of it."""

    agent: str | None = Field(default=None, min_length=1, max_length=100)
    """For steps without a `run` of their own."""
    timeout: Duration | None = None
    stall: Duration | None = None
    total: Duration | None = None
    retry: Retry | None = None
    env: Environment = Field(default_factory=dict)
    """Added to every step's; what a step says itself wins."""
    expect: Expect | None = None
    runs_on: WrittenLabels | None = None
    """For steps of which neither they nor their agents say it."""

    def fill(self, step: Step) -> Step:
        """`step` with what it leaves unsaid; doing it twice changes nothing more."""
        unsaid = {
            name: value
            for name in ("timeout", "stall", "total", "retry", "expect")
            if (value := getattr(self, name)) is not None and name not in step.model_fields_set
        }
        if self.agent and step.agent is None and step.run is None:
            unsaid["agent"] = self.agent
        return step.model_copy(update={**unsaid, "env": {**self.env, **step.env}})


def contradictions(step: Step) -> list[Problem]:
    """What a step says that cannot both be; the defaults may add to it."""
    problems = []
    if step.run is not None and step.agent is not None:
        text = f"step {step.id!r} has both 'run' and 'agent'; it takes one of them"
        problems.append(Problem(("agent", "[key]"), text))
    if step.expected is Expect.NOTHING and step.creates:
        text = f"step {step.id!r} creates something and expects nothing; drop one of the two"
        problems.append(Problem(("expect",), text))
    return problems


def step_problems(
    step: Step, params: Mapping[str, JsonValue], needs: Container[str] | None = None
) -> list[Problem]:
    """What is wrong with a step in its plan, its place in the graph apart.

    `needs` are those whose outputs its prompt may name; None if that is not known.
    """
    problems = contradictions(step)
    if step.run is None and step.agent is None:
        text = f"step {step.id!r} has neither 'run' nor 'agent': nobody does it"
        problems.append(Problem((), text))
    if step.prompt is not None and (wrong := bad_prompt(step.prompt, params, needs)):
        problems.append(Problem(("prompt",), f"the prompt of step {step.id!r} {wrong}"))
    return problems
