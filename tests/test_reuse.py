"""What a new run takes over of an old one, and what it says of the rest: pure."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from branchwork.contract import RunRequest
from branchwork.errors import RefusedError
from branchwork.limits import too_large
from branchwork.outcomes import Outcome, RunReport, StepReport
from branchwork.plan import Plan
from branchwork.requests import refusal
from branchwork.reuse import Again, Past, retried, reusing
from scripted import plan_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CHAIN = {"a": "", "b": "a", "c": "b", "d": ""}


def request(plan: Plan, **fields: Any) -> RunRequest:
    return RunRequest(plan=plan, repository="/shop", **{"base": "base", **fields})


def past(plan: Plan, *, run: str = "old", asked: Any = None, **ends: Any) -> Past:
    """A run that ended; steps that `ends` does not name succeeded."""
    reports = tuple(report(step.id, ends.get(step.id, "succeeded")) for step in plan.steps)
    failed = any(report.outcome is not Outcome.SUCCEEDED for report in reports)
    ended = RunReport(
        run=run,
        plan="test",
        outcome=Outcome.FAILED if failed else Outcome.SUCCEEDED,
        base="base",
        started_at=NOW,
        steps=reports,
    )
    return Past(request(plan, **(asked or {})), ended)


def report(step: str, end: str | StepReport) -> StepReport:
    if isinstance(end, StepReport):
        return end
    outcome = Outcome(end)
    return StepReport(
        step=step,
        agent="command",
        outcome=outcome,
        attempts=0 if outcome is Outcome.SKIPPED else 1,
        base="base",
        result=f"result-of-{step}" if outcome is Outcome.SUCCEEDED else None,
        output={"by": step} if outcome is Outcome.SUCCEEDED else None,
    )


def taken(again: Again) -> list[str]:
    return [reused.step for reused in again.request.reuse]


def whys(again: Again) -> dict[str, str]:
    return {rerun.step: rerun.why for rerun in again.reruns}


def test_a_retry_takes_over_what_succeeded_and_does_the_rest_again() -> None:
    again = retried(past(plan_of(CHAIN), b="failed", c="skipped"))

    assert taken(again) == ["a", "d"]
    assert whys(again) == {"b": "it failed", "c": "it had not run"}
    assert [rerun.sentence for rerun in again.reruns] == [
        "step 'b' runs again: it failed",
        "step 'c' runs: it had not run",
    ]


def test_what_is_taken_over_is_the_commit_its_base_its_output_and_whose_it_is() -> None:
    again = retried(past(plan_of({"a": "", "b": ""}), b="failed"))

    assert again.request.reuse[0].model_dump() == {
        "step": "a",
        "commit": "result-of-a",
        "run": "old",
        "base": "base",
        "output": {"by": "a"},
    }


def test_a_result_that_was_taken_over_itself_stays_that_of_the_run_that_made_it() -> None:
    first = report("a", "succeeded").model_copy(update={"attempts": 0, "reused": "first"})

    again = retried(past(plan_of({"a": "", "b": ""}), a=first, b="cancelled"))

    assert again.request.reuse[0].run == "first"


def test_a_named_step_and_all_that_depend_on_it_run_again_although_they_succeeded() -> None:
    again = retried(past(plan_of(CHAIN)), ["a"])

    assert taken(again) == ["d"]
    assert whys(again) == {
        "a": "it was named",
        "b": "it needs 'a', which runs",
        "c": "it needs 'b', which runs",
    }


def test_a_retry_starts_from_the_commit_that_the_run_started_from() -> None:
    old = past(plan_of({"a": ""}, base="main"), a="failed", asked={"base": None})

    assert retried(old).request.base == "base"


def test_a_run_whose_steps_all_succeeded_leaves_nothing_to_do_again() -> None:
    with pytest.raises(RefusedError, match=r"nothing to do again; .* `branchwork retry old STEP`"):
        retried(past(plan_of(CHAIN)))


def test_a_run_that_failed_only_to_land_is_landed_again() -> None:
    old = past(plan_of(CHAIN))
    unlanded = old._replace(report=old.report.model_copy(update={"outcome": Outcome.FAILED}))

    again = retried(unlanded)

    assert taken(again) == list(CHAIN)
    assert again.reruns == ()


def test_a_step_that_the_run_does_not_have_is_refused_with_the_nearest() -> None:
    with pytest.raises(RefusedError, match="no step 'lexr'; did you mean 'lexer'"):
        retried(past(plan_of({"lexer": ""})), ["lexr"])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"prompt": "new"}, "its prompt changed"),
        ({"run": "false"}, "its run changed"),
        ({"env": {"LEVEL": "2"}}, "its env changed"),
        ({"creates": ["a.txt"], "action": "write"}, "its action, creates and expect changed"),
        ({"requires": ["README"]}, "its requires changed"),
        ({"needs": []}, "its needs changed"),
        ({"runs_on": ["gpu"]}, "its runs_on changed"),
        ({"expect": "nothing"}, "its expect changed"),
    ],
)
def test_a_step_with_other_inputs_runs_again_with_what_depends_on_it(
    change: dict[str, Any], why: str
) -> None:
    written = {"id": "b", "run": "true", "needs": ["a"]}
    old = plan_of({"a": "", "b": written, "c": "b"})
    new = plan_of({"a": "", "b": {**written, **change}, "c": "b"})

    again = reusing(past(old), request(new))

    assert taken(again) == ["a"]
    assert whys(again) == {
        "b": why,
        "c": "it needs 'b', which runs",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"timeout": "9h"},
        {"retry": {"attempts": 3}},
        {"optional": True},
        {"expect": "any"},
        {"runs_on": []},
        {"env": {}},
    ],
)
def test_how_long_and_how_often_a_step_is_tried_changes_no_success(change: dict[str, Any]) -> None:
    again = reusing(past(plan_of({"a": ""})), request(plan_of({"a": {"needs": [], **change}})))

    assert taken(again) == ["a"]


def test_the_order_of_steps_and_needs_changes_nothing() -> None:
    old = plan_of({"a": "", "b": "", "c": "a b"})
    new = plan_of({"b": "", "a": "", "c": "b a"})

    again = reusing(past(old), request(new))

    assert taken(again) == ["b", "a", "c"]


def test_another_definition_of_its_agent_runs_the_steps_of_that_agent_again() -> None:
    def with_coder(command: str) -> Plan:
        steps = {"a": {"run": None, "agent": "coder"}, "b": ""}
        return plan_of(steps, agents={"coder": command, "other": command})

    again = reusing(past(with_coder("true")), request(with_coder("false")))

    assert whys(again) == {"a": "its agent changed"}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"base": "other"}, "the base changed from base to other"),
        ({"params": {"level": 2}}, "the parameter 'level' changed"),
        ({"repository": "/other"}, "run old is of another repository, /shop"),
    ],
)
def test_what_every_step_depends_on_is_told_once(asked: dict[str, Any], why: str) -> None:
    plan = plan_of({"a": "", "b": "a"}, params={"level": 1})

    again = reusing(past(plan), request(plan).model_copy(update=asked))

    assert taken(again) == []
    assert list(again.sentences("old")) == [
        "taken over from old: 0 of 2 steps",
        f"every step runs again: {why}",
    ]


def test_an_edited_plan_without_a_base_starts_from_that_of_the_run() -> None:
    plan = plan_of({"a": ""})

    again = reusing(past(plan), request(plan, base=None))

    assert again.request.base == "base"
    assert taken(again) == ["a"]


def test_new_steps_are_told_from_those_that_run_again_and_dropped_ones_are_nobodys_need() -> None:
    old, new = plan_of({"a": "", "gone": ""}), plan_of({"a": "", "new": "a"})

    again = reusing(past(old), request(new))

    assert taken(again) == ["a"]
    assert [rerun.sentence for rerun in again.reruns] == ["step 'new' runs: it is new"]


def test_a_step_that_failed_and_was_changed_says_both() -> None:
    new = plan_of({"a": {"run": "false"}})

    again = reusing(past(plan_of({"a": ""}), a="timed_out"), request(new))

    assert whys(again) == {"a": "it timed out, and its run changed"}


def test_a_success_whose_output_the_report_left_out_runs_again() -> None:
    lightened = report("a", "succeeded").model_copy(
        update={
            "output": None,
            "reason": "[more was left out: the run's report would be too large]",
        }
    )

    again = retried(past(plan_of({"a": "", "b": "a"}), a=lightened))

    assert whys(again)["a"] == "its output is no longer known"
    assert taken(again) == []


def test_causes_are_told_before_what_follows_from_them_and_many_are_counted() -> None:
    steps: dict[str, Any] = {"a": "", **{f"s{number:02}": "a" for number in range(60)}}
    again = retried(past(plan_of({**steps, "z": ""}), z="failed"), ["a"])

    told = list(again.sentences("old"))

    assert told[0] == "taken over from old: 0 of 62 steps"
    assert told[1:3] == ["step 'a' runs again: it was named", "step 'z' runs again: it failed"]
    assert told[-1] == "… and 22 more steps run"


def test_a_request_that_takes_over_a_step_without_what_it_needs_is_refused() -> None:
    again = retried(past(plan_of(CHAIN), d="failed"))
    cut = again.request.model_copy(update={"reuse": again.request.reuse[1:]})

    assert refusal("new", again.request) is None
    assert refusal("new", cut) == (
        "the result of step 'b' is to be taken over, and that of 'a', which it needs, is not"
    )


def test_a_request_that_takes_over_an_unknown_step_is_refused() -> None:
    again = retried(past(plan_of({"a": "", "b": ""}), b="failed"))
    other = again.request.model_copy(update={"plan": plan_of({"b": ""})})

    assert "'a' is to be taken over, which the plan does not define" in str(refusal("new", other))


def test_results_count_to_the_size_of_a_request() -> None:
    large = report("a", "succeeded").model_copy(update={"output": {"text": "x" * 1_600_000}})
    again = retried(past(plan_of({"a": "", "b": ""}), a=large, b="failed"))

    assert "results to be taken over take 1,600," in str(too_large(again.request))


@pytest.mark.parametrize("seed", range(200))
def test_exactly_that_is_taken_over_which_succeeded_and_stands_on_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"s{number}" for number in range(chance.randint(1, 12))]
    needs = {
        name: chance.sample(names[:index], chance.randint(0, min(index, 3)))
        for index, name in enumerate(names)
    }
    changed, named, failed = ({name for name in names if chance.random() < 0.15} for _ in "cnf")
    old = plan_of({name: {"needs": needs[name]} for name in names})
    new = plan_of(
        {
            name: {"needs": needs[name], "run": "new" if name in changed else "true"}
            for name in names
        }
    )

    again = reusing(past(old, **dict.fromkeys(failed, "failed")), request(new), named)

    stands: dict[str, bool] = {}
    for name in names:
        own = name not in changed | named | failed
        stands[name] = own and all(stands[need] for need in needs[name])
    assert taken(again) == [name for name in names if stands[name]]
    assert [rerun.step for rerun in again.reruns] == [name for name in names if not stands[name]]
    assert refusal("new", again.request) is None
