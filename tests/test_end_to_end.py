"""Plans on real repositories, with real agents: what a user gets, and what is left behind."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from temporalio.client import Client

from branchwork.names import attempt_ref
from repositories import (
    commit_all,
    files_of,
    head_of,
    make_repository,
    parents_of,
    refs_of,
    run_git,
    state_of,
    worktrees_of,
    write_files,
)
from scripted import outcomes, reason, until
from workers import Host, processes_of, serving


def steps(*written: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"steps": list(written), **fields}


def step(name: str, run: str | list[str], **fields: Any) -> dict[str, Any]:
    return {"id": name, "run": run, **fields}


@pytest.fixture
async def host(client: Client, tmp_path: Path) -> Any:
    async with serving(client, tmp_path) as host:
        yield host


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(
        tmp_path / "repository", {"a.txt": "1\n2\n3\n4\n5\n6\n7\n", "src/x": "x"}
    )


async def test_the_result_branch_holds_all_steps_work_and_the_checkout_is_untouched(
    host: Host, repository: Path
) -> None:
    before = state_of(repository)
    plan = steps(
        step("one", "echo one > one.txt", creates=["one.txt"]),
        step("two", "echo two > two.txt", creates=["two.txt"]),
        step("both", "cat one.txt two.txt > both.txt", requires=["one.txt", "two.txt"]),
    )

    report = await host.run(repository, plan)

    assert report.outcome == "succeeded"
    assert report.branch == f"branchwork/{report.run}"
    assert files_of(repository, report.branch)["both.txt"] == "one\ntwo"
    run_git(repository, "branch", "-D", report.branch)
    assert state_of(repository) == before
    assert await host.leftovers(repository, report.run) == []


async def test_uncommitted_work_of_the_user_is_neither_used_nor_touched(
    host: Host, repository: Path
) -> None:
    write_files(repository, {"a.txt": "mine\n", "new.txt": "mine\n"})

    report = await host.run(repository, steps(step("look", "cat a.txt > seen; test ! -e new.txt")))

    assert report.outcome == "succeeded"
    assert files_of(repository, str(report.branch))["seen"].startswith("1\n")
    assert (repository / "a.txt").read_text() == "mine\n"


async def test_edits_of_one_file_that_agree_are_merged_and_a_conflict_is_named(
    host: Host, repository: Path
) -> None:
    agreeing = steps(step("top", "sed -i s/1/one/ a.txt"), step("low", "sed -i s/7/seven/ a.txt"))
    conflicting = steps(
        *agreeing["steps"], step("other", "sed -i s/1/uno/ a.txt"), on_failure="continue"
    )

    merged, conflict = await asyncio.gather(
        host.run(repository, agreeing), host.run(repository, conflicting)
    )

    assert files_of(repository, str(merged.branch))["a.txt"] == "one\n2\n3\n4\n5\n6\nseven"
    assert conflict.outcome == "failed"
    assert conflict.branch is None
    assert conflict.reason is not None
    assert conflict.reason.startswith("Conflict: steps 'top' and 'other' both changed a.txt")
    assert outcomes(conflict) == {"top": "succeeded", "low": "succeeded", "other": "succeeded"}
    kept = refs_of(repository, f"refs/branchwork/{conflict.run}/steps")
    assert files_of(repository, kept[f"refs/branchwork/{conflict.run}/steps/other"])[
        "a.txt"
    ].startswith("uno\n")


async def test_a_conflict_between_needs_fails_the_step_that_needs_them(
    host: Host, repository: Path
) -> None:
    plan = steps(
        step("top", "sed -i s/1/one/ a.txt"),
        step("other", "sed -i s/1/uno/ a.txt"),
        step("join", "true", needs=["top", "other"]),
    )

    report = await host.run(repository, plan)

    assert outcomes(report)["join"] == "failed"
    assert reason(report, "join").startswith("Conflict: steps 'top' and 'other'")


async def test_deletions_and_renames_are_carried(host: Host, repository: Path) -> None:
    plan = steps(step("delete", "rm src/x"), step("move", "mv a.txt b.txt", needs=["delete"]))

    report = await host.run(repository, plan)

    assert set(files_of(repository, str(report.branch))) == {"b.txt"}


async def test_a_folder_that_gave_way_to_a_symlink_is_kept_as_one(
    host: Host, repository: Path
) -> None:
    plan = steps(
        step("file", "rm -r src; ln -s a.txt src"), step("folder", "mv src s; ln -s s src")
    )

    report = await host.run(repository, {**plan, "on_failure": "continue"})

    assert outcomes(report) == {"file": "succeeded", "folder": "succeeded"}
    assert files_of(repository, str(report.steps[0].result))["src"] == "a.txt"
    assert files_of(repository, str(report.steps[1].result))["s/x"] == "x"
    assert worktrees_of(repository) == []


async def test_what_stood_there_before_does_not_count_as_created(
    host: Host, repository: Path
) -> None:
    report = await host.run(repository, steps(step("lazy", "true", creates=["src/"])))

    assert reason(report, "lazy") == "NoChanges: src/ stands as it did before the step"


async def test_every_created_path_must_be_there(host: Host, repository: Path) -> None:
    plan = steps(step("half", "echo x > one", creates=["one", "two", "three/"]))

    report = await host.run(repository, plan)

    assert reason(report, "half") == "MissingArtifact: two, three/ should be there and is not"
    assert report.steps[0].changed == ("one",)


async def test_what_a_step_changed_beside_its_creates_is_kept_and_listed(
    host: Host, repository: Path
) -> None:
    plan = steps(step("busy", "echo x > one; echo y > extra", creates=["one"]))

    report = await host.run(repository, plan)

    assert report.steps[0].changed == ("extra", "one")
    assert files_of(repository, str(report.branch))["extra"] == "y"


async def test_a_failed_agent_is_told_with_its_exit_code_and_its_last_words(
    host: Host, repository: Path
) -> None:
    plan = steps(step("bad", "echo work > kept; echo oh no >&2; exit 3"))

    report = await host.run(repository, plan)

    assert report.outcome == "failed"
    assert reason(report, "bad").startswith("AgentFailed: exit 3")
    assert "oh no" in reason(report, "bad")
    kept = refs_of(repository)[f"refs/branchwork/{report.run}/attempts/bad/1"]
    assert files_of(repository, kept)["kept"] == "work"
    assert await host.leftovers(repository, report.run) == []


async def test_each_attempt_starts_from_the_same_base_and_keeps_its_own_work(
    host: Host, repository: Path
) -> None:
    script = "test ! -e mark; echo $BRANCHWORK_ATTEMPT > mark; test $BRANCHWORK_ATTEMPT = 2"
    plan = steps(step("again", script, retry={"attempts": 2, "initial": "1s"}))

    report = await host.run(repository, plan)

    refs = refs_of(repository, f"refs/branchwork/{report.run}/attempts")
    assert report.steps[0].attempts == 2
    assert [files_of(repository, commit)["mark"] for commit in refs.values()] == ["1", "2"]


async def test_a_passing_failure_is_tried_again_without_counting_as_an_attempt(
    host: Host, repository: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    script = f"test -e {mark} || {{ touch {mark}; exit 75; }}; echo $BRANCHWORK_ATTEMPT > n"

    report = await host.run(repository, steps(step("later", script)))

    assert report.outcome == "succeeded"
    assert report.steps[0].attempts == 1
    assert files_of(repository, str(report.branch))["n"] == "1"


async def test_a_timeout_ends_every_process_of_the_agent_and_keeps_its_work(
    host: Host, repository: Path
) -> None:
    script = "echo half > half; setsid sleep 300 & trap '' TERM; sleep 300"
    plan = steps(step("slow", script, timeout="1s"))

    report = await host.run(repository, plan)

    assert outcomes(report) == {"slow": "timed_out"}
    assert reason(report, "slow").startswith("TimedOut: no end after 1s")
    assert report.steps[0].result is not None
    assert files_of(repository, report.steps[0].result)["half"] == "half"
    assert processes_of(report.run) == []
    assert await host.leftovers(repository, report.run) == []


async def test_a_step_whose_agent_does_nothing_times_out_as_stalled_and_keeps_its_work(
    host: Host, repository: Path
) -> None:
    plan = steps(step("idle", "echo half > half; sleep 300", stall="1s"))

    report = await host.run(repository, plan)

    assert outcomes(report) == {"idle": "timed_out"}
    assert reason(report, "idle").startswith("Stalled: neither output nor a changed file for 1s")
    assert files_of(repository, str(report.steps[0].result))["half"] == "half"
    assert await host.leftovers(repository, report.run) == []


async def test_a_cancelled_run_leaves_no_process_and_no_worktree_and_keeps_all_work(
    host: Host, repository: Path
) -> None:
    script = "echo $BRANCHWORK_STEP > $BRANCHWORK_STEP; setsid sleep 300 & sleep 300"
    run = await host.start(repository, steps(*(step(name, script) for name in "abc")))
    await until(lambda: len(processes_of(run)) == 12)

    await host.runs.cancel(run)
    report = await host.runs.wait(run)

    assert report.outcome == "cancelled"
    assert set(outcomes(report).values()) == {"cancelled"}
    assert processes_of(run) == []
    for name, entry in zip("abc", report.steps, strict=True):
        assert entry.result is not None
        assert files_of(repository, entry.result)[name] == name
        assert entry.kept == attempt_ref(run, name, 1)
        assert refs_of(repository, entry.kept) == {entry.kept: entry.result}
    assert await host.leftovers(repository, run) == []


async def test_the_report_names_the_ref_of_a_failed_attempt_that_no_other_followed(
    host: Host, repository: Path
) -> None:
    retry = {"attempts": 2, "initial": "10m"}
    plan = steps(step("bad", "echo half > half; exit 1", retry=retry), step("good", "echo > new"))
    run = await host.start(repository, plan)
    report = await host.runs.report(run)
    while report.steps[0].status != "backing_off" or report.steps[1].outcome is None:
        await asyncio.sleep(0.1)
        report = await host.runs.report(run)

    bad = await host.runs.cancel_step(run, "bad")

    assert (bad.kept, bad.changed) == (attempt_ref(run, "bad", 1), ("half",))
    assert report.steps[1].kept is None


async def test_a_failure_ends_running_siblings_and_keeps_their_work(
    host: Host, repository: Path
) -> None:
    plan = steps(
        step("busy", "echo busy > busy; sleep 300"),
        step("bad", "while ! test -e ../busy/busy; do sleep 0.1; done; exit 1"),
    )

    report = await host.run(repository, plan)

    assert outcomes(report) == {"busy": "cancelled", "bad": "failed"}
    assert report.steps[0].result is not None
    assert files_of(repository, report.steps[0].result)["busy"] == "busy"
    assert processes_of(report.run) == []


async def test_outputs_and_parameters_reach_prompts_and_commands(
    host: Host, repository: Path
) -> None:
    plan = steps(
        step("ask", """echo '{"answer": 42}' > $BRANCHWORK_OUTPUT"""),
        step(
            "use",
            "cat > prompt; cp $BRANCHWORK_PARAMS params; cp $BRANCHWORK_NEEDS needs",
            needs=["ask"],
            prompt="{{ params.who }} got {{ outputs['ask'].answer }}",
        ),
        params={"who": "nobody"},
    )

    report = await host.run(repository, plan, params={"who": "$(rm -rf /)"})

    files = files_of(repository, str(report.branch))
    assert report.steps[0].output == {"answer": 42}
    assert files["prompt"] == "$(rm -rf /) got 42"
    assert json.loads(files["params"]) == {"who": "$(rm -rf /)"}
    assert json.loads(files["needs"]) == {"ask": {"answer": 42}}


async def test_a_prompt_that_cannot_be_made_fails_the_step_by_name(
    host: Host, repository: Path
) -> None:
    plan = steps(
        step("ask", "true"),
        step("use", "true", needs=["ask"], prompt="{{ outputs['ask'].answer }}"),
    )

    report = await host.run(repository, plan)

    assert reason(report, "use").startswith("BadPrompt: the prompt cannot be made")
    assert worktrees_of(repository) == []


async def test_an_agent_that_removes_its_worktree_fails_and_its_commits_are_kept(
    host: Host, repository: Path
) -> None:
    identity = "git -c user.name=x -c user.email=x@example.org"
    script = f'echo mine > mine; git add mine; {identity} commit -qm mine; rm -rf "$PWD"'

    report = await host.run(repository, steps(step("gone", script)))

    kept = refs_of(repository)[f"refs/branchwork/{report.run}/attempts/gone/1"]
    assert reason(report, "gone").startswith("WorktreeLost: ")
    assert files_of(repository, kept)["mine"] == "mine"
    assert await host.leftovers(repository, report.run) == []


async def test_the_base_is_pinned_when_the_run_starts(host: Host, repository: Path) -> None:
    base = head_of(repository)
    plan = steps(
        step("first", "while ! test -e /tmp/$BRANCHWORK_RUN; do sleep 0.1; done"),
        step("second", "ls > seen", needs=["first"]),
    )
    run = await host.start(repository, plan)
    await until(lambda: bool(processes_of(run)))
    write_files(repository, {"later.txt": "later\n"})
    commit_all(repository, "later")

    Path("/tmp", run).touch()  # noqa: S108  # named by the run, and removed
    report = await host.runs.wait(run)
    Path("/tmp", run).unlink()  # noqa: S108

    assert report.base == base
    assert "later.txt" not in files_of(repository, str(report.branch))["seen"]
    assert refs_of(repository)[f"refs/branchwork/{run}/base"] == base


async def test_a_base_that_lacks_what_a_step_requires_is_refused_before_any_step(
    host: Host, repository: Path
) -> None:
    report = await host.run(repository, steps(step("a", "true", requires=["src/missing"])))

    assert report.outcome == "failed"
    assert (report.reason or "").startswith("MissingRequired: step 'a' requires 'src/missing'")


async def test_a_path_that_leaves_the_repository_by_a_symlink_is_refused(
    host: Host, repository: Path
) -> None:
    (repository / "out").symlink_to("/etc")
    commit_all(repository, "link")

    report = await host.run(repository, steps(step("a", "true", creates=["out/passwd"])))

    assert (report.reason or "").startswith("LeavesRepository: 'out/passwd' leads out")


async def test_a_folder_that_is_no_repository_is_told(host: Host, tmp_path: Path) -> None:
    report = await host.run(tmp_path, steps(step("a", "true")))

    assert (report.reason or "").startswith("NotARepository: ")


async def test_two_runs_in_one_repository_do_not_see_each_other(
    host: Host, repository: Path
) -> None:
    plan = steps(
        step("a", "echo $BRANCHWORK_RUN > a; sleep 0.5"), step("b", "cat a > b", needs=["a"])
    )

    one, other = await asyncio.gather(host.run(repository, plan), host.run(repository, plan))

    for report in (one, other):
        assert files_of(repository, str(report.branch))["b"] == report.run
        assert await host.leftovers(repository, report.run) == []


async def test_a_landed_merge_has_the_leaves_as_parents(host: Host, repository: Path) -> None:
    plan = steps(*(step(name, f"echo {name} > {name}") for name in "abc"))

    report = await host.run(repository, plan)

    assert parents_of(repository, str(report.result)) == [
        str(entry.result) for entry in report.steps
    ]


async def test_forty_steps_over_layers_end_in_the_right_order(host: Host, repository: Path) -> None:
    layers = [[f"s{layer}-{number}" for number in range(5)] for layer in range(8)]
    written = [
        step(name, f"cat s{layer - 1}-* 2>/dev/null | wc -l > {name}", needs=layers[layer - 1])
        if layer
        else step(name, f"echo 0 > {name}")
        for layer, names in enumerate(layers)
        for name in names
    ]

    report = await host.run(repository, steps(*written))

    ends = {entry.step: entry for entry in report.steps}
    assert report.outcome == "succeeded"
    assert {files_of(repository, str(report.branch))[name] for name in layers[7]} == {"5"}
    for layer, names in enumerate(layers[1:]):
        last = max(ends[name].ended_at or report.started_at for name in layers[layer])
        assert all((ends[name].started_at or report.started_at) >= last for name in names)


async def test_metrics_tell_agents_and_outcomes_and_never_runs_or_steps(
    client: Client, tmp_path: Path, repository: Path
) -> None:
    reader = InMemoryMetricReader()
    async with serving(client, tmp_path, meters=MeterProvider([reader])) as host:
        plan = steps(step("good", "true"), step("bad", "exit 1"), on_failure="continue")
        report = await host.run(repository, plan)

    text = (reader.get_metrics_data() or reader).to_json()  # type: ignore[union-attr]
    assert '"branchwork.attempt.duration"' in text
    assert '"branchwork.outcome": "failed"' in text
    assert '"branchwork.outcome": "succeeded"' in text
    assert report.run not in text
    assert "good" not in text
