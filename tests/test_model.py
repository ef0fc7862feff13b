"""The scheduler against a simple model, over random graphs, ends, cancels and continuations.

Every run tries the same examples; `pytest --hypothesis-profile=search` looks for others.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from temporalio.client import Client

from branchwork.carrying import Carried
from branchwork.contract import AttemptEnd
from branchwork.outcomes import Outcome, Status
from branchwork.plan import Plan
from branchwork.progress import Progress
from scripted import Script, outcomes, plan_of, started
from servers import impatient_server

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENDS = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CANCELLED)

Needs = Mapping[str, list[str]]


@st.composite
def graphs(draw: st.DrawFn, most: int) -> Needs:
    """Each step needs some of those before it."""
    names = [f"s{number}" for number in range(draw(st.integers(1, most)))]
    return {
        name: draw(st.lists(st.sampled_from(names[:index]), unique=True, max_size=3))
        if index
        else []
        for index, name in enumerate(names)
    }


class Model:
    """Steps that have started, and how they ended; nothing is remembered but that."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self.started: set[str] = set()
        self.ended: dict[str, Outcome] = {}

    def ready(self) -> list[str]:
        return [
            step
            for step, needs in self.needs.items()
            if step not in self.started
            and step not in self.ended
            and all(self.ended.get(need) is Outcome.SUCCEEDED for need in needs)
        ]

    def end(self, step: str, outcome: Outcome) -> None:
        """Whoever needs what did not succeed is skipped; in plan order needs come first."""
        self.ended[step] = outcome
        for other, needs in self.needs.items():
            if other not in self.ended and any(
                self.ended.get(need, Outcome.SUCCEEDED) is not Outcome.SUCCEEDED for need in needs
            ):
                self.ended[other] = Outcome.SKIPPED

    def succeeded(self) -> set[str]:
        return {step for step, outcome in self.ended.items() if outcome is Outcome.SUCCEEDED}

    def leaves(self) -> list[str]:
        built_on = {need for step in self.succeeded() for need in self.needs[step]}
        return [step for step in self.needs if step in self.succeeded() - built_on]


class Played:
    """One run of `Progress`, as the workflow drives it, beside the model."""

    def __init__(self, needs: Needs, optional: frozenset[str]) -> None:
        self.plan = plan_with(needs, optional)
        self.model = Model(needs)
        self.progress = Progress(self.plan)
        self.start(self.model.ready())

    def start(self, steps: list[str]) -> None:
        assert [step.id for step in self.progress.ready(self.plan.by_id)] == steps
        for step in steps:
            self.progress.move(step, Status.READY)
            self.model.started.add(step)

    def end(self, step: str, outcome: Outcome) -> None:
        begins = step in self.model.started
        self.model.end(step, outcome)
        freed = self.model.ready()
        if begins:
            self.progress.begin(step, 1, NOW)
            ended = AttemptEnd(outcome=outcome, result=step, started_at=NOW, ended_at=NOW)
            self.progress.end(step, ended)
        else:
            self.progress.end_without_attempt(step, outcome, "Cancelled", NOW)
        assert [found.id for found in self.progress.freed_by(step)] == freed
        self.start(freed)

    def go_over(self) -> None:
        """Into a new history, by what Temporal would carry."""
        carried = Carried(base="b", started_at=NOW, steps=self.progress.moved())
        told = Carried.model_validate_json(carried.model_dump_json())
        begun, counts = self.progress.begun(), self.progress.counts()
        self.progress = Progress(self.plan)
        self.progress.restore(told.steps)
        assert (self.progress.begun(), self.progress.counts()) == (begun, counts)

    def under_way(self) -> list[str]:
        return [step for step in self.model.started if step not in self.model.ended]

    def agrees(self) -> None:
        told = {report.step: report.outcome for report in self.progress.reports if report.outcome}
        assert told == self.model.ended
        assert [leaf.step for leaf in self.progress.leaves()] == self.model.leaves()
        assert [step.id for step in self.progress.begun()] == sorted(
            self.under_way(), key=list(self.model.needs).index
        )


def plan_with(needs: Needs, optional: frozenset[str], **fields: Any) -> Plan:
    steps = {step: {"needs": found, "optional": step in optional} for step, found in needs.items()}
    return plan_of(steps, on_failure="continue", **fields)


@settings(max_examples=400)
@given(needs=graphs(most=12), data=st.data())
def test_progress_agrees_with_the_model_whatever_ends_when(
    needs: Needs, data: st.DataObject
) -> None:
    optional = data.draw(st.frozensets(st.sampled_from(list(needs))))
    played = Played(needs, optional)

    while left := [step for step in needs if step not in played.model.ended]:
        act = data.draw(st.sampled_from(["end", "end", "end", "cancel", "go over"]))
        if act == "go over":
            played.go_over()
        elif act == "cancel":
            played.end(data.draw(st.sampled_from(left)), Outcome.CANCELLED)
        elif running := played.under_way():
            step = data.draw(st.sampled_from(sorted(running)))
            played.end(step, data.draw(st.sampled_from(ENDS)))
        played.agrees()

    assert played.model.started >= played.model.succeeded()
    missed = [step for step in needs if step not in played.model.succeeded() | optional]
    assert played.progress.missed() == missed
    assert (played.progress.failure_reason() is None) is not bool(missed)


@settings(max_examples=200)
@given(needs=graphs(most=12), data=st.data())
def test_a_stopped_run_skips_what_waits_and_starts_nothing(
    needs: Needs, data: st.DataObject
) -> None:
    played = Played(needs, frozenset())
    for _ in range(data.draw(st.integers(0, 6))):
        if running := sorted(played.under_way()):
            played.end(data.draw(st.sampled_from(running)), data.draw(st.sampled_from(ENDS)))
    under_way = played.under_way()

    played.progress.skip_waiting("the run ended")

    assert [step.id for step in played.progress.ready(needs)] == []
    assert {report.step for report in played.progress.reports if report.outcome is None} == set(
        under_way
    )


class Case(NamedTuple):
    needs: Needs
    acts: Mapping[str, list[str]]
    optional: frozenset[str]
    cancelled: frozenset[str]
    width: int
    pauses: bool


ACTS = st.sampled_from(
    [["succeed"]] * 6
    + [["fail"], ["fail_for_good"], ["time_out"], ["fail", "succeed"], ["fail", "fail"]]
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    needs = draw(graphs(most=14))
    some = st.frozensets(st.sampled_from(list(needs)), max_size=2)
    return Case(
        needs=needs,
        acts={step: draw(ACTS) for step in needs},
        optional=draw(some),
        cancelled=draw(some),
        width=draw(st.integers(1, 5)),
        pauses=draw(st.booleans()),
    )


ATTEMPTS = 2


def expected(case: Case) -> Mapping[str, str]:
    """How every step ends, step after step."""
    model = Model(case.needs)
    for step in case.cancelled:
        if step not in model.ended:
            model.end(step, Outcome.CANCELLED)
    while ready := model.ready():
        model.end(ready[0], _end_of(case.acts[ready[0]]))
    return {step: str(model.ended[step]) for step in case.needs}


def _end_of(acts: list[str]) -> Outcome:
    last = acts[0] if acts[0] == "fail_for_good" else acts[min(ATTEMPTS, len(acts)) - 1]
    if acts[0] == "succeed" or last == "succeed":
        return Outcome.SUCCEEDED
    return Outcome.TIMED_OUT if last == "time_out" else Outcome.FAILED


@pytest.fixture(scope="module")
async def restless() -> AsyncIterator[Client]:
    """A server on which a run goes over to a new history every few steps."""
    async with impatient_server(events=15) as client:
        yield client


@settings(max_examples=15, phases=(Phase.generate,))
@given(case=cases())
async def test_runs_end_as_the_model_says_over_however_many_histories(
    restless: Client, case: Case
) -> None:
    retry = {"attempts": ATTEMPTS, "initial": "1s", "maximum": "1s"}
    plan = plan_with(case.needs, case.optional, max_parallel=case.width, defaults={"retry": retry})
    script = Script(case.acts, base_waits=True)
    told = expected(case)
    gone = [step for step in case.needs if step in case.cancelled]

    async with started(restless, plan, script) as (runs, run_id):
        for step in gone:
            if (await runs.report(run_id)).steps[list(case.needs).index(step)].outcome is None:
                await runs.cancel_step(run_id, step)
        if case.pauses:
            await runs.pause(run_id)
        script.release.set()
        if case.pauses:
            await runs.resume(run_id)
        async with asyncio.timeout(60):
            report = await runs.wait(run_id)

    assert outcomes(report) == told
    must = [step for step in case.needs if step not in case.optional]
    missed = [step for step in must if told[step] != "succeeded"]
    assert report.outcome == ("failed" if missed else "succeeded")
    assert {step: script.started.count(step) for step in case.needs} == {
        step.step: step.attempts for step in report.steps
    }
    assert script.most_at_once <= case.width
    for step in script.started:
        assert script.needs[step] == {
            need: f"{need}-{report.steps[list(case.needs).index(need)].attempts}"
            for need in case.needs[step]
        }
