import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from activities.agents.base import AgentEnd, AgentWork, Watch
from activities.agents.command import CommandAgent
from activities.sweeping import marked_processes
from branchwork.plan import AgentSpec

SECRET = "hunter2-hunter2"  # noqa: S105  # of no one
WORKER = {
    "PATH": os.environ["PATH"],
    "HOME": "/home/someone",
    "LC_TIME": "C",
    "https_proxy": "http://proxy:3128",
    "TEMPORAL_ADDRESS": "temporal:7233",
    "TEMPORAL_API_KEY": "temporal-key",
    "GIT_DIR": "/somewhere/else",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector",
    "BRANCHWORK_RUN": "an-outer-run",
    "BRANCHWORK_STATE": "/outer",
    "TOKEN": SECRET,
    "EMPTY": "",
}


@dataclass
class Desk:
    """One attempt's work, and what can be seen of it afterwards."""

    work: AgentWork
    lines: list[str] = field(default_factory=list)
    began: list[datetime] = field(default_factory=list)
    leaves: bool = False

    @property
    def watch(self) -> Watch:
        return Watch(
            line=self.lines.append,
            began=lambda started_at, _: self.began.append(started_at),
            leave=lambda: self.leaves,
        )

    def given(self, **changes: Any) -> "Desk":
        self.work = replace(self.work, **changes)
        return self

    async def run(self, run: str | tuple[str, ...]) -> AgentEnd:
        return await CommandAgent(AgentSpec(run=run), WORKER).work(self.work, self.watch)

    def start(self, run: str) -> asyncio.Task[AgentEnd]:
        return asyncio.create_task(self.run(run))

    @property
    def log(self) -> str:
        return (self.work.folder / "output.log").read_text()

    def made(self, name: str) -> str:
        return (self.work.worktree / name).read_text()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    worktree = tmp_path / "a worktree ü"
    worktree.mkdir()
    work = AgentWork(
        run=f"test-{uuid4().hex}",
        step="parse",
        agent="coder",
        action="write",
        attempt=2,
        worktree=worktree,
        folder=tmp_path / "state" / "parse" / "2",
        prompt=None,
        creates=(),
        params={},
        outputs={},
        environment={},
        timeout=timedelta(seconds=60),
        stall=None,
    )
    yield Desk(work)
    for process in marked_processes(work.marker):
        process.kill()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


# What is started


async def test_a_script_runs_in_the_worktree_and_ends_well(desk: Desk) -> None:
    end = await desk.run("pwd\necho done > made")

    assert end == AgentEnd(ok=True, exit_code=0)
    assert desk.log == f"{desk.work.worktree}\n"
    assert desk.made("made") == "done\n"


async def test_a_script_stops_at_the_first_command_that_fails(desk: Desk) -> None:
    end = await desk.run("echo one\nfalse\necho two")

    assert (end.ok, end.name, end.exit_code) == (False, "AgentFailed", 1)
    assert desk.log == "one\n"


async def test_a_script_may_begin_with_a_dash(desk: Desk) -> None:
    end = await desk.run("-x")

    assert end.exit_code == 127


async def test_a_list_is_started_as_it_is(desk: Desk) -> None:
    end = await desk.run(("printf", "%s|", "$HOME", "a b", "; touch hacked", "*", "$(id)", "`id`"))

    assert end.ok
    assert desk.log == "$HOME|a b|; touch hacked|*|$(id)|`id`|"
    assert list(desk.work.worktree.iterdir()) == []


async def test_a_program_of_the_worktree_is_started_by_its_path(desk: Desk) -> None:
    tool = desk.work.worktree / "tool"
    tool.write_text("#!/bin/sh\necho tool $1\n")
    tool.chmod(0o700)

    await desk.run(("./tool", "x"))

    assert desk.log == "tool x\n"


async def test_a_program_that_is_not_there_fails_for_good_by_its_name(desk: Desk) -> None:
    end = await desk.run(("no-such-agent", "x"))

    assert (end.ok, end.name, end.transient, end.again) == (False, "CannotStart", False, False)
    assert end.text.startswith("'no-such-agent' cannot be started: there is no such program")


async def test_a_command_that_is_too_long_is_refused_in_a_sentence(desk: Desk) -> None:
    end = await desk.run("#" + "x" * 3_000_000)

    assert end.name == "CannotStart"
    assert "too long" in end.text
    assert len(end.text) < 1000


# What it is told


async def told(desk: Desk) -> dict[str, str]:
    await desk.run(python("import json, os; json.dump(dict(os.environ), open('env', 'w'))"))
    found: dict[str, str] = json.loads(desk.made("env"))
    return found


async def test_the_environment_holds_what_is_listed_and_nothing_else(desk: Desk) -> None:
    environment = await told(desk)

    assert {name for name in environment if not name.startswith("BRANCHWORK_")} <= {
        *("PATH", "HOME", "LC_TIME", "https_proxy", "TERM"),
        "LC_CTYPE",  # Python's own
    }
    assert environment["HOME"] == "/home/someone"
    assert environment["https_proxy"] == "http://proxy:3128"
    assert environment["TERM"] == "dumb"
    assert "BRANCHWORK_STATE" not in environment


async def test_the_attempt_is_told_by_environment(desk: Desk) -> None:
    environment = await told(desk.given(creates=("src/a b.py", "docs/")))

    assert {
        name: value
        for name, value in environment.items()
        if name.startswith("BRANCHWORK_") and not value.startswith(str(desk.work.folder))
    } == {
        "BRANCHWORK_RUN": desk.work.run,
        "BRANCHWORK_STEP": "parse",
        "BRANCHWORK_AGENT": "coder",
        "BRANCHWORK_ACTION": "write",
        "BRANCHWORK_ATTEMPT": "2",
        "BRANCHWORK_CREATES": "src/a b.py\ndocs/",
    }


async def test_the_plan_adds_to_the_environment_but_cannot_change_who_it_is(desk: Desk) -> None:
    named = {"TOKEN": None, "EMPTY": None, "MODE": "fast; rm -rf /", "HOME": "/h"}

    environment = await told(desk.given(environment={**named, "BRANCHWORK_RUN": "x"}))

    assert environment["TOKEN"] == SECRET
    assert environment["EMPTY"] == ""
    assert environment["MODE"] == "fast; rm -rf /"
    assert environment["HOME"] == "/h"
    assert environment["BRANCHWORK_RUN"] == desk.work.run


async def test_a_variable_that_the_worker_lacks_is_named_with_what_to_do(desk: Desk) -> None:
    desk.given(environment={"TOKEN": None, "API_KEY": None, "OTHER_KEY": None})

    end = await desk.run("touch started")

    assert (end.ok, end.name, end.again) == (False, "MissingEnvironment", False)
    assert "API_KEY, OTHER_KEY" in end.text
    assert "branchwork down && branchwork up" in end.text
    assert not (desk.work.worktree / "started").exists()


@pytest.mark.parametrize("prompt", ["", None, "Write; $(touch hacked) `id` \"'\n ü \0 end", "x\n"])
async def test_the_prompt_is_on_stdin_and_in_a_file(desk: Desk, prompt: str | None) -> None:
    end = await desk.given(prompt=prompt).run('cat > stdin; cp "$BRANCHWORK_PROMPT_FILE" file')

    assert end.ok
    assert desk.made("stdin") == desk.made("file") == (prompt or "")
    assert not (desk.work.worktree / "hacked").exists()


async def test_a_huge_prompt_that_nobody_reads_holds_nothing_up(desk: Desk) -> None:
    end = await desk.given(prompt="x" * 5_000_000).run("exit 0")

    assert end.ok


async def test_parameters_and_outputs_of_needs_arrive_as_they_are(desk: Desk) -> None:
    params = {"name": 'a\'; touch hacked; "$(id)" `id` \n ü', "list": [1, None, {"x": True}]}
    outputs = {"lex": {"tokens": 3}, "plan": {}}
    script = 'cp "$BRANCHWORK_PARAMS" params; cp "$BRANCHWORK_NEEDS" needs'

    await desk.given(params=params, outputs=outputs).run(script)

    assert json.loads(desk.made("params")) == params
    assert json.loads(desk.made("needs")) == outputs


async def test_files_of_an_attempt_are_private(desk: Desk) -> None:
    await desk.given(prompt="x").run("true")

    folder = desk.work.folder
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("prompt.txt", "params.json", "needs.json", "output.log"),
        *("launch.json", "pid", "exit", "stdout", "stderr"),
    }
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


# How it ends


@pytest.mark.parametrize(
    ("script", "text", "code"),
    [
        ("exit 3", "exit 3", 3),
        ("kill -9 $$", "ended by SIGKILL", 128 + signal.SIGKILL),
        ("kill -40 $$", "exit 168", 168),
        ("echo only out; exit 2", "exit 2\nonly out", 2),
        ("echo out; echo no >&2; exit 2", "exit 2\nno", 2),
    ],
)
async def test_an_exit_other_than_zero_is_told_in_words(
    desk: Desk, script: str, text: str, code: int
) -> None:
    end = await desk.run(script)

    assert end == AgentEnd(ok=False, name="AgentFailed", text=text, exit_code=code)


async def test_exit_75_is_a_failure_that_passes(desk: Desk) -> None:
    end = await desk.run("echo busy >&2; exit 75")

    assert (end.ok, end.transient, end.text) == (False, True, "exit 75\nbusy")


async def test_a_failure_tells_the_last_twenty_lines_of_stderr(desk: Desk) -> None:
    end = await desk.run("seq 1 100 >&2; echo out; exit 1")

    assert end.text.split("\n") == ["exit 1", *map(str, range(81, 101))]


async def test_a_failure_is_told_in_four_kilobytes_of_clean_text(desk: Desk) -> None:
    script = "import sys; sys.stderr.buffer.write(b'\\x1b[31m\\xff\\0' * 99999); sys.exit(1)"

    end = await desk.run(python(script))

    assert len(end.text.encode()) <= 4096
    assert end.text.replace("\n", "").isprintable()
    assert (desk.work.folder / "output.log").stat().st_size == 7 * 99999


async def test_a_timeout_ends_all_of_it_and_tells_the_last_lines(desk: Desk) -> None:
    script = "echo working >&2; setsid sleep 301 & sleep 302"

    end = await desk.given(timeout=timedelta(milliseconds=700)).run(script)

    assert (end.ok, end.name, end.timed_out) == (False, "TimedOut", True)
    assert end.text == "no end after 700ms\nworking"
    assert marked_processes(desk.work.marker) == []


async def test_an_agent_that_ends_well_only_when_told_to_has_timed_out(desk: Desk) -> None:
    script = "trap 'exit 0' TERM; while :; do sleep 0.01; done"

    end = await desk.given(timeout=timedelta(milliseconds=300)).run(script)

    assert (end.name, end.timed_out, end.exit_code) == ("TimedOut", True, 0)


async def test_an_agent_that_ignores_term_is_killed(desk: Desk) -> None:
    script = "trap '' TERM; echo deaf; while :; do sleep 0.1; done"
    began = time.monotonic()

    end = await desk.given(timeout=timedelta(seconds=1)).run(script)

    assert end.exit_code == 128 + signal.SIGKILL
    assert time.monotonic() - began < 30
    assert marked_processes(desk.work.marker) == []


async def test_a_daemon_of_an_agent_that_ended_well_is_swept(desk: Desk) -> None:
    script = "(setsid sh -c 'sleep 301 & sleep 302' </dev/null >/dev/null 2>&1 &)"

    end = await desk.run(script)

    assert end.ok
    assert marked_processes(desk.work.marker) == []


async def test_a_cancel_is_raised_when_the_agent_is_gone(desk: Desk) -> None:
    script = "trap 'echo tidying; sleep 0.4; echo tidied; exit 0' TERM; echo up; sleep 300 & wait"
    task = desk.start(script)
    await until(lambda: desk.lines)

    task.cancel()
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert desk.log == "up\ntidying\ntidied\n"
    assert marked_processes(desk.work.marker) == []


@pytest.mark.parametrize("seconds", [0, 0.001, 0.003, 0.01, 0.03])
async def test_a_cancel_at_any_moment_leaves_no_process(desk: Desk, seconds: float) -> None:
    task = desk.start("setsid sleep 300 & exit 0")

    await asyncio.sleep(seconds)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert marked_processes(desk.work.marker) == []


# Left to others


async def left_running(desk: Desk, script: str) -> None:
    """Its worker is told to stop as soon as the agent has printed something."""
    desk.leaves = True
    task = desk.start(script)
    await until(lambda: desk.lines)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    desk.leaves = False


async def test_an_agent_that_is_left_running_is_followed_to_its_end_by_another(desk: Desk) -> None:
    await left_running(desk, "echo one; sleep 1; echo two > made; echo two; exit 3")
    agent = CommandAgent(AgentSpec(run="never"), WORKER)

    is_left = agent.is_left(desk.work)
    end = await agent.go_on(desk.work, desk.watch)

    assert is_left
    assert (end.name, end.exit_code, end.text) == ("AgentFailed", 3, "exit 3\none\ntwo")
    assert desk.made("made") == "two\n"
    assert desk.log == "one\ntwo\n"
    assert desk.began[0] == desk.began[1]


async def test_an_agent_that_ended_while_nobody_looked_has_told_how(desk: Desk) -> None:
    await left_running(
        desk, 'echo one; sleep 1; echo \'{"a": 1}\' > "$BRANCHWORK_OUTPUT"; echo two'
    )
    await until(lambda: not marked_processes(desk.work.marker))
    agent = CommandAgent(AgentSpec(run="never"), WORKER)

    is_left = agent.is_left(desk.work)
    end = await agent.go_on(desk.work, desk.watch)

    assert is_left
    assert (end.exit_code, end.output) == (0, {"a": 1})
    assert desk.log == "one\ntwo\n"


async def test_an_agent_that_was_killed_with_its_wrapper_is_not_left(desk: Desk) -> None:
    await left_running(desk, "echo one; sleep 300")
    for process in marked_processes(desk.work.marker):
        process.kill()
    await until(lambda: not marked_processes(desk.work.marker))

    assert not CommandAgent(AgentSpec(run="never"), WORKER).is_left(desk.work)


async def test_an_agent_that_is_gone_on_with_has_no_more_time_than_it_had(desk: Desk) -> None:
    await left_running(desk, "echo one; sleep 300")
    await asyncio.sleep(0.5)

    agent = CommandAgent(AgentSpec(run="never"), WORKER)
    desk.given(timeout=timedelta(milliseconds=400))
    end = await agent.go_on(desk.work, desk.watch)

    assert (end.name, end.timed_out) == ("TimedOut", True)
    assert marked_processes(desk.work.marker) == []


async def test_an_agent_that_is_gone_on_with_is_ended_by_a_cancel(desk: Desk) -> None:
    await left_running(desk, "echo one; setsid sleep 301 & sleep 300")
    agent = CommandAgent(AgentSpec(run="never"), WORKER)
    desk.lines.clear()
    task = asyncio.create_task(agent.go_on(desk.work, desk.watch))
    await until(lambda: desk.lines)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert marked_processes(desk.work.marker) == []


async def test_what_may_hold_secrets_is_forgotten_with_the_attempt(desk: Desk) -> None:
    desk.given(environment={"TOKEN": None})
    await left_running(desk, 'echo "$TOKEN"; sleep 0.3; echo two')
    agent = CommandAgent(AgentSpec(run="never"), WORKER)
    await agent.go_on(desk.work, desk.watch)

    agent.forget(desk.work)

    texts = [path.read_text() for path in desk.work.folder.iterdir()]
    assert desk.log == "[TOKEN]\ntwo\n"
    assert not any(SECRET in text for text in texts)


async def test_an_agent_that_does_nothing_for_too_long_has_stalled(desk: Desk) -> None:
    end = await desk.given(stall=timedelta(milliseconds=600)).run("echo one; sleep 300")

    assert (end.name, end.timed_out) == ("Stalled", True)
    assert end.text == "neither output nor a changed file for 600ms\none"


async def test_an_agent_that_writes_files_or_prints_has_not_stalled(desk: Desk) -> None:
    writes = "for i in 1 2 3 4; do sleep 0.4; echo $i > made; done"
    prints = "for i in 1 2 3 4; do sleep 0.4; echo $i; done"

    ends = [await desk.given(stall=timedelta(seconds=1)).run(script) for script in (writes, prints)]

    assert [end.ok for end in ends] == [True, True]


# What it hands on


async def handed_on(desk: Desk, output: bytes) -> AgentEnd:
    (desk.work.worktree / "written").write_bytes(output)
    return await desk.run('cp written "$BRANCHWORK_OUTPUT"')


async def test_a_json_object_is_the_output(desk: Desk) -> None:
    end = await handed_on(desk, '{"files": ["ü"], "score": 0.5}'.encode())

    assert end == AgentEnd(ok=True, output={"files": ["ü"], "score": 0.5}, exit_code=0)


async def test_the_largest_output_is_64_kib(desk: Desk) -> None:
    padding = b'{"a": "' + b"x" * (64 * 1024 - 9)

    assert (await handed_on(desk, padding + b'"}')).ok
    refused = await handed_on(desk, padding + b'x"}')

    assert (refused.ok, refused.name) == (False, "BadOutput")
    assert "65537 bytes, the most is 65536" in refused.text


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (b"", "is not JSON"),
        (b'{"a": 1', "is not JSON"),
        (b"\xff\xfe\xff", "is not JSON"),
        (b"[1]", "holds a JSON list; it must be an object"),
        (b'"text"', "holds a JSON str"),
        (b'{"a": NaN}', "nan"),
        (b'{"a": [-Infinity]}', "inf"),
        (b'{"a": 1e999}', "inf"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        (b'{"a": ' + b"[" * 60 + b"]" * 60 + b"}", "deep"),
        (b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}", "deep|depth|recursion"),
        (b'{"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "deep|depth|recursion"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
    ],
)
async def test_an_output_that_cannot_be_handed_on_is_refused(
    desk: Desk, output: bytes, reason: str
) -> None:
    end = await handed_on(desk, output)

    assert (end.ok, end.name, end.output) == (False, "BadOutput", None)
    assert any(part in end.text for part in reason.split("|")), end.text
    assert len(end.text) < 500


@pytest.mark.parametrize(
    "make",
    [
        "ln -s /etc/passwd $BRANCHWORK_OUTPUT",
        "mkfifo $BRANCHWORK_OUTPUT",
        "mkdir $BRANCHWORK_OUTPUT",
    ],
)
async def test_an_output_that_is_no_file_is_refused(desk: Desk, make: str) -> None:
    end = await desk.run(make)

    assert (end.ok, end.name) == (False, "BadOutput")
    assert (await desk.run("true")).ok


async def test_an_output_of_a_failure_does_not_count(desk: Desk) -> None:
    end = await desk.run('echo nonsense > "$BRANCHWORK_OUTPUT"; exit 1')

    assert (end.name, end.output) == ("AgentFailed", None)


async def test_a_further_try_begins_anew_but_for_the_log(desk: Desk) -> None:
    await desk.run('echo {} > "$BRANCHWORK_OUTPUT"; echo one; exit 75')

    end = await desk.run("echo two")

    assert end == AgentEnd(ok=True, exit_code=0)
    assert desk.log == "one\ntwo\n"


# What must not be seen


async def test_a_secret_is_hidden_wherever_an_agent_prints_it(desk: Desk) -> None:
    script = 'echo "out $TOKEN"; sleep 0.1; echo "err $TOKEN" >&2; exit 1'

    end = await desk.given(environment={"TOKEN": None}).run(script)

    assert end.text == "exit 1\nerr [TOKEN]"
    assert desk.lines == ["out [TOKEN]", "err [TOKEN]"]
    assert desk.log == "out [TOKEN]\nerr [TOKEN]\n"


async def test_a_secret_is_hidden_in_the_output(desk: Desk) -> None:
    script = """printf '{"%s": ["is %s", 1]}' "$TOKEN" "$TOKEN" > "$BRANCHWORK_OUTPUT" """

    end = await desk.given(environment={"TOKEN": None}).run(script)

    assert end.output == {"[TOKEN]": ["is [TOKEN]", 1]}


@pytest.mark.parametrize("environment", [{"HOME": None}, {"MODE": "/home/someone"}])
async def test_what_is_no_secret_is_shown(
    desk: Desk, environment: Mapping[str, str | None]
) -> None:
    await desk.given(environment=environment).run('echo "$HOME"')

    assert desk.log == "/home/someone\n"
