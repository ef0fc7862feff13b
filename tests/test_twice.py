"""Every activity run twice has the effect of once; and what a dead worker left is not lost."""

import asyncio
import dataclasses
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.agents.base import marker_of
from activities.owning import owned, owned_if_free
from activities.sweeping import marked_processes
from benches import Bench, call
from branchwork.contract import AttemptEnd, BaseRequest, LandRequest, Need
from repositories import files_of, head_of, refs_of, run_git, worktrees_of


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_resolving_the_base_twice_pins_it_once(bench: Bench) -> None:
    request = BaseRequest(run="run-1", repository=str(bench.repository), revision="main")

    first = await call(bench.runs.resolve_base, request)
    second = await call(bench.runs.resolve_base, request)

    assert first == second
    assert refs_of(bench.repository) == {"refs/branchwork/run-1/base": first.commit}


async def test_results_taken_over_twice_are_published_once_and_outlive_the_other_runs_refs(
    bench: Bench,
) -> None:
    end = await call(bench.steps.run_step, bench.request("echo work > work"))
    request = BaseRequest(
        run="run-2",
        repository=str(bench.repository),
        revision="main",
        reuse=(Need(step="s", commit=end.result),),
    )

    first = await call(bench.runs.resolve_base, request)
    for ref in refs_of(bench.repository, "refs/branchwork/run-1"):
        run_git(bench.repository, "update-ref", "-d", ref)
    second = await call(bench.runs.resolve_base, request)

    assert first == second
    assert refs_of(bench.repository) == {
        "refs/branchwork/run-2/base": first.commit,
        "refs/branchwork/run-2/steps/s": end.result,
    }


@pytest.mark.parametrize("wrong", ["0" * 40, "main", "main\0x"])
async def test_a_result_that_is_gone_is_named_and_the_others_are_published(
    bench: Bench, wrong: str
) -> None:
    head = head_of(bench.repository)
    reuse = (Need(step="gone", commit=wrong), Need(step="there", commit=head))
    request = BaseRequest(
        run="run-2", repository=str(bench.repository), revision="main", reuse=reuse
    )

    with pytest.raises(ApplicationError, match="`branchwork retry run-2 gone`") as raised:
        await call(bench.runs.resolve_base, request)

    assert raised.value.type == "ResultGone"
    assert refs_of(bench.repository)["refs/branchwork/run-2/steps/there"] == head
    assert len(refs_of(bench.repository)) == 2


async def test_a_base_that_was_pinned_stays_although_its_branch_moves(bench: Bench) -> None:
    request = BaseRequest(run="run-1", repository=str(bench.repository), revision="main")
    first = await call(bench.runs.resolve_base, request)
    run_git(bench.repository, "commit", "--quiet", "--allow-empty", "--message", "later")

    second = await call(bench.runs.resolve_base, request)

    assert first == second


async def test_landing_twice_finds_its_own_merge(bench: Bench) -> None:
    base = head_of(bench.repository)
    ends = [
        await call(bench.steps.run_step, bench.request(f"echo {name} > {name}", id=name))
        for name in ("a", "b")
    ]
    leaves = tuple(Need(step=name, commit=end.result) for name, end in zip("ab", ends, strict=True))
    request = LandRequest(run="run-1", repository=str(bench.repository), base=base, leaves=leaves)

    first = await call(bench.runs.land_run, request)
    second = await call(bench.runs.land_run, request)

    assert first == second
    assert head_of(bench.repository, first.branch) == first.commit


async def test_an_attempt_that_has_ended_is_not_run_again(bench: Bench, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    request = bench.request(f"echo x >> {ledger}; echo made > made", creates=["made"])

    first = await call(bench.steps.run_step, request)
    second = await call(bench.steps.run_step, request)

    assert first == second
    assert first.outcome == "succeeded"
    assert ledger.read_text() == "x\n"


async def test_an_attempt_of_another_execution_of_the_run_is_run_anew(
    bench: Bench, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    request = bench.request(f"echo x >> {ledger}; cp {ledger} made")

    await call(bench.steps.run_step, request)
    second = await call(bench.steps.run_step, request.model_copy(update={"run": "run-1"}))
    reset = ActivityEnvironment()
    reset.info = dataclasses.replace(
        reset.info, scheduled_time=datetime.now(UTC), workflow_run_id="other"
    )
    third = await reset.run(bench.steps.run_step, request)

    assert files_of(bench.repository, second.result)["made"] == "x"
    assert files_of(bench.repository, third.result)["made"] == "x\nx"
    assert refs_of(bench.repository)["refs/branchwork/run-1/steps/s"] == third.result


async def test_a_second_try_keeps_what_the_interrupted_one_wrote_and_starts_clean(
    bench: Bench,
) -> None:
    request = bench.interrupted({"half": "half\n"})

    end: AttemptEnd = await call(bench.steps.run_step, request)

    refs = refs_of(bench.repository, "refs/branchwork/run-1/attempts")
    kept = [files_of(bench.repository, commit) for commit in refs.values()]
    assert end.outcome == "succeeded"
    assert "half" not in files_of(bench.repository, str(end.result))
    assert any(files.get("half") == "half" for files in kept)
    assert worktrees_of(bench.repository) == []


async def test_a_second_try_removes_what_the_first_one_had_half_written(bench: Bench) -> None:
    request = bench.interrupted({})
    half = bench.place(request).folder / ".params.json.partial"
    half.write_text("{")

    await call(bench.steps.run_step, request)

    assert not half.exists()


async def test_a_second_try_ends_the_agent_that_the_dead_worker_left(bench: Bench) -> None:
    request = bench.interrupted({})
    orphan = subprocess.Popen(
        ["sleep", "300"],
        env={**os.environ, **marker_of(bench.place(request).folder)},
        start_new_session=True,
    )

    await call(bench.steps.run_step, request)

    assert orphan.wait(10) < 0


async def test_a_worktree_that_no_agent_entered_is_made_anew_and_keeps_nothing(
    bench: Bench,
) -> None:
    request = bench.request("echo new > new")
    place = bench.place(request)
    place.record(base=place.make())
    (place.worktree / "README").unlink()

    end = await call(bench.steps.run_step, request)

    assert end.outcome == "succeeded"
    assert end.changed == ("new",)
    assert list(refs_of(bench.repository, "refs/branchwork/run-1/attempts").values()) == [
        end.result
    ]


async def test_a_worktree_of_which_no_record_can_be_read_is_left_alone(bench: Bench) -> None:
    request = bench.interrupted({"half": "half\n"})
    place = bench.place(request)
    (place.folder / "record.json").write_text("{}")

    with pytest.raises(ApplicationError, match="no record can be read") as error:
        await call(bench.steps.run_step, request)

    assert error.value.type == "WorktreeInUse"
    assert (place.worktree / "half").read_text() == "half\n"


@pytest.mark.parametrize(
    "details",
    [
        ActivityCancellationDetails(worker_shutdown=True),
        ActivityCancellationDetails(timed_out=True),
        ActivityCancellationDetails(not_found=True),
        ActivityCancellationDetails(paused=True),
    ],
)
async def test_a_turn_that_is_cut_off_leaves_its_agent_and_the_next_one_goes_on_with_it(
    bench: Bench, details: ActivityCancellationDetails, tmp_path: Path
) -> None:
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    request = bench.request(
        f"echo x >> {ledger}; echo half > half; until [ -e {gate} ]; do sleep 0.05; done"
    )
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(
        environment.info, scheduled_time=datetime.now(UTC), workflow_run_id="w"
    )
    running = asyncio.ensure_future(environment.run(bench.steps.run_step, request))
    half = bench.place(request).worktree / "half"
    while not half.exists():
        await asyncio.sleep(0.05)

    environment.cancel(details)
    with pytest.raises(ApplicationError, match="another turn follows") as error:
        await running
    gate.touch()
    end = await call(bench.steps.run_step, request)

    assert (error.value.type, error.value.details) == ("WorkerShutdown", ("here",))
    assert (end.outcome, end.changed) == ("succeeded", ("half",))
    assert ledger.read_text() == "x\n"
    assert marked_processes(marker_of(bench.place(request).folder)) == []
    assert worktrees_of(bench.repository) == []


async def test_two_tries_of_one_step_never_work_at_once(bench: Bench, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    request = bench.request(f"echo in >> {ledger}; sleep 0.5; echo out >> {ledger}")

    ends = await asyncio.gather(*(call(bench.steps.run_step, request) for _ in range(3)))

    assert ledger.read_text() == "in\nout\n"
    assert ends[0] == ends[1] == ends[2]


async def test_a_step_is_given_back_by_a_process_that_dies(tmp_path: Path) -> None:
    script = (
        "import fcntl, os, sys, time; d = os.open(sys.argv[1], os.O_RDONLY);"
        "fcntl.flock(d, fcntl.LOCK_EX); print('has it', flush=True); time.sleep(300)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    other.stdout.readline()

    with owned_if_free(tmp_path) as is_free:
        before = is_free
    other.kill()
    other.communicate()
    async with asyncio.timeout(5), owned(tmp_path):
        with owned_if_free(tmp_path) as is_free:
            within = is_free

    assert (before, within) == (False, False)
