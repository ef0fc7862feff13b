import json
import math
import time
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from branchwork.plan import AgentSpec, Expect, Plan, Retry, Step, UnknownParamError


def plan(*steps: dict[str, Any], **fields: Any) -> Plan:
    return Plan.model_validate({"plan": "demo", "steps": steps, **fields})


def problems(*steps: dict[str, Any], **fields: Any) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ValidationError) as refused:
        plan(*steps, **fields)
    return [
        ((*error["loc"], *where), text)
        for error in refused.value.errors()
        for where, text in error["ctx"]["problems"]
    ]


def test_a_plan_survives_the_way_through_json() -> None:
    made = plan(
        {"id": "a", "run": ["make", "it"], "timeout": "90s", "creates": ["x/"], "env": ["TOKEN"]},
        {"id": "b", "agent": "w", "prompt": "{{ params.n }}", "retry": {"initial": "250ms"}},
        agents={"w": "true", "*": {"run": ["x"], "env": {"A": "1"}}},
        params={"n": [1, 2.5, None, {"k": "ä"}]},
        defaults={"timeout": "2h", "env": {"LANG": "C"}, "expect": "any"},
        deadline="1d",
    )

    again = Plan.model_validate_json(made.model_dump_json())

    assert again == made
    assert Plan.model_validate_json(again.model_dump_json()) == made
    assert again.steps[0].timeout == timedelta(seconds=90)
    assert again.steps[1].timeout == timedelta(hours=2)


def test_the_graph_is_computed_once() -> None:
    made = plan({"id": "a", "run": "x"})

    assert made.graph is made.graph
    assert made.with_agents({}).graph is made.graph


def test_what_a_step_says_itself_wins_over_the_defaults() -> None:
    defaults = {"agent": "w", "timeout": "5m", "retry": {"attempts": 3}, "env": {"A": "1"}}

    first, second = plan(
        {"id": "a", "timeout": "1m", "env": {"A": "2"}},
        {"id": "b", "run": "x", "retry": {}},
        defaults=defaults,
    ).steps

    assert (first.agent, first.timeout, first.retry.attempts) == ("w", timedelta(minutes=1), 3)
    assert first.env == {"A": "2"}
    assert (second.agent, second.timeout, second.retry) == (None, timedelta(minutes=5), Retry())


def test_who_creates_something_is_expected_to_change_something() -> None:
    creating, idle, silent = plan(
        {"id": "a", "run": "x", "creates": ["y"]},
        {"id": "b", "run": "x"},
        {"id": "c", "run": "x", "expect": "nothing"},
    ).steps

    assert [creating.expected, idle.expected, silent.expected] == [
        Expect.CHANGES,
        Expect.ANY,
        Expect.NOTHING,
    ]


def test_a_plan_without_steps_is_refused() -> None:
    assert problems() == [(("steps",), "the plan has no steps")]


def test_a_step_that_nobody_does_is_refused() -> None:
    assert problems({"id": "a"}) == [
        (("steps", 0), "step 'a' has neither 'run' nor 'agent': nobody does it")
    ]


def test_a_step_with_two_doers_is_refused() -> None:
    assert problems({"id": "a", "run": "x", "agent": "y"}) == [
        (
            ("steps", 0, "agent", "[key]"),
            "step 'a' has both 'run' and 'agent'; it takes one of them",
        )
    ]


@pytest.mark.parametrize("where", ["step", "defaults"])
def test_a_step_cannot_create_something_and_expect_nothing(where: str) -> None:
    step = {"id": "a", "run": "x", "creates": ["y"]}
    said = {"expect": "nothing"}

    found = problems({**step, **said}) if where == "step" else problems(step, defaults=said)

    assert found == [
        (
            ("steps", 0, "expect"),
            "step 'a' creates something and expects nothing; drop one of the two",
        )
    ]


def test_problems_of_steps_and_of_the_graph_come_together() -> None:
    found = problems({"id": "a", "needs": ["b"]}, {"id": "c", "run": "x", "prompt": "{{ x }}"})

    assert [where for where, _ in found] == [
        ("steps", 0),
        ("steps", 1, "prompt"),
        ("steps", 0, "needs", 0),
    ]


@pytest.mark.parametrize(
    ("prompt", "wrong"),
    [
        ("{{ stp }}", "; did you mean 'step'?"),
        ("{{ size }}", "; did you mean 'params.size'?"),
        (
            "{{ params.sze }}",
            "names params.sze, which the plan's 'params' does not hold; did you mean 'size'?",
        ),
        ("{{ params['colour'] }}", "names params.colour"),
        ("{{ outputs.other.x }}", "names the output of 'other', which the step does not need"),
        (
            "{{ step|upperx }}",
            "uses the filter 'upperx', which there is not; did you mean 'upper'?",
        ),
        ("{{ step is evn }}", "uses the test 'evn', which there is not; did you mean 'even'?"),
        ("{% include 'x' %}", "takes in another template"),
        ("a\n{{ step", "is no template: line 2"),
        ("{{ " + "(" * 5000, "is no template: it is nested too deep"),
    ],
)
def test_a_prompt_that_cannot_be_made_is_refused(prompt: str, wrong: str) -> None:
    steps = {"id": "other", "run": "x"}, {"id": "a", "run": "x", "prompt": prompt}

    ((where, text),) = problems(*steps, params={"size": 1})

    assert where == ("steps", 1, "prompt")
    assert wrong in text


@pytest.mark.parametrize(
    "prompt",
    [
        "no braces, params.x",
        "{{ params.size }} {{ params['size'] }} {{ params.items() }} {{ params.get('x') }}",
        "{% for path in creates %}{{ loop.index }} {{ path }}{% endfor %}",
        "{{ params.colour | default('red') }}{% if params.x is defined %}{% endif %}",
        "{{ outputs.first.x }} {{ outputs[step] }}",
        "{% set params = {} %}{{ params.x }}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(range(3)) }}",
        "{{ 10 ** 10 ** 10 }}",
    ],
)
def test_a_prompt_that_may_work_is_taken(prompt: str) -> None:
    step = {"id": "a", "run": "x", "prompt": prompt, "needs": ["first"]}

    assert plan({"id": "first", "run": "x"}, step, params={"size": 1}).steps[1].prompt == prompt


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_parameter_that_json_cannot_write_is_refused_in_its_place(number: float) -> None:
    ((where, text),) = problems({"id": "a", "run": "x"}, params={"a": [{"b": number}]})

    assert where == ("params", "a", 0, "b")
    assert "is not a number that JSON can write" in text


def test_half_a_character_is_refused_in_its_place() -> None:
    ((where, _),) = problems({"id": "a", "run": "x"}, params={"a": "\ud800"})

    assert where == ("params", "a")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_parallel", "8"),
        ("max_parallel", True),
        ("max_parallel", 0),
        ("max_parallel", 501),
        ("base", ""),
        ("steps", [{"id": f"s{index}", "run": "x"} for index in range(2001)]),
    ],
)
def test_what_is_out_of_bounds_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        Plan.model_validate({"plan": "demo", "steps": [{"id": "a", "run": "x"}], field: value})


def test_given_agents_win_over_those_of_the_plan() -> None:
    made = plan(
        {"id": "a", "agent": "one"}, {"id": "b", "agent": "two"}, agents={"one": "1", "*": "other"}
    )

    given = made.with_agents({"one": AgentSpec(run="given"), "*": AgentSpec(run="rest")})

    assert [made.agent_of(step) for step in made.steps] == [
        AgentSpec(run="1"),
        AgentSpec(run="other"),
    ]
    assert [given.agent_of(step) for step in given.steps] == [
        AgentSpec(run="given"),
        AgentSpec(run="rest"),
    ]


def test_the_star_does_not_replace_an_agent_that_is_defined() -> None:
    made = plan({"id": "a", "agent": "one"}, agents={"one": "1"})

    assert made.with_agents({"*": AgentSpec(run="x")}).agent_of(made.steps[0]) == AgentSpec(run="1")


def test_an_agent_that_nothing_defines_is_told_once_with_the_way_out() -> None:
    made = plan(
        {"id": "w", "run": "x"},
        {"id": "x", "agent": "improver"},
        {"id": "y", "agent": "improver"},
        agents={"improvr": "true"},
    )

    (problem,) = made.undefined_agents()

    assert problem.where == ("steps", 1, "agent")
    assert problem.text == (
        "step 'x' is for agent 'improver', which nothing defines; add it to 'agents:', or map it:"
        " --agent improver=COMMAND; did you mean 'improvr'?"
    )
    assert made.with_agents({"*": AgentSpec(run="x")}).undefined_agents() == ()


def test_given_parameters_win_over_those_of_the_plan() -> None:
    made = plan({"id": "a", "run": "x"}, params={"size": 1, "colour": "red"})

    assert made.with_params({"size": [2]}).params == {"size": [2], "colour": "red"}


def test_a_parameter_that_the_plan_does_not_declare_is_refused() -> None:
    made = plan({"id": "a", "run": "x"}, params={"size": 1})

    with pytest.raises(UnknownParamError, match="no parameter 'sizex'; did you mean 'size'"):
        made.with_params({"sizex": 2})


def test_a_given_parameter_that_json_cannot_write_is_refused() -> None:
    made = plan({"id": "a", "run": "x"}, params={"size": 1})

    with pytest.raises(ValueError, match="JSON can write"):
        made.with_params({"size": math.nan})


def test_a_list_of_environment_names_takes_the_workers_values() -> None:
    assert Step(id="a", run="x", env=["TOKEN", "B"]).env == {"TOKEN": None, "B": None}  # type: ignore[arg-type]


@pytest.mark.parametrize("run", ["", " \n", [], ["", "a"], [1], "a\0b", ["a", "b\0"], 5, {"a": 1}])
def test_what_is_no_command_is_refused_in_one_sentence(run: object) -> None:
    with pytest.raises(ValidationError) as refused:
        Step.model_validate({"id": "a", "run": run})

    assert refused.value.error_count() == 1
    assert "command" in str(refused.value)


def test_two_thousand_steps_are_quick() -> None:
    steps = [
        {
            "id": f"s{index}",
            "agent": "w",
            "prompt": f"Do {index} for {{{{ params.who }}}}",
            "needs": [f"s{index - 1}"] if index % 40 else [],
            "creates": [f"src/{index}/out.py"],
        }
        for index in range(2000)
    ]
    text = json.dumps({"plan": "wide", "steps": steps, "params": {"who": "you"}})
    started = time.monotonic()

    made = Plan.model_validate_json(text)

    assert time.monotonic() - started < 10
    assert len(made.graph.levels) == 40
