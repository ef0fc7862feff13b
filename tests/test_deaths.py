"""Who watches, follows or cancels a run while its server or worker is killed for real."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from branchwork.names import new_run_id
from branchwork.settings import LOOPBACK
from commands import SECONDS, Commands, commands_in, interrupt
from repositories import files_of, make_repository, refs_of, worktrees_of
from workers import processes_of

pytestmark = pytest.mark.timeout(300)
"""Each waits for several commands, deaths and returns; a loaded machine takes its time for all."""

PLAN = """\
plan: two
lost_after: 10s
steps:
  - id: one
    run: &script |
      echo mine > $BRANCHWORK_STEP
      while ! test -e {gate}; do echo tick; sleep 0.2; done
  - id: two
    run: *script
  - id: after
    needs: [one, two]
    run: "true"
"""


class Told:
    """What a command writes to stderr, as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._lines: list[str] = []
        self._process = process
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._lines.append(line)  # each as it comes

    def until(self, pattern: str) -> None:
        end = time.monotonic() + SECONDS
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, f"{pattern!r} was never said: {self._lines}"
            time.sleep(0.1)

    def code(self) -> int:
        code = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    @property
    def text(self) -> str:
        return "".join(self._lines)


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with commands_in(make_repository(tmp_path / "repository"), tmp_path / "state") as commands:
        yield commands


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The agents end once it is there."""
    return tmp_path / "gate"


def under_way(commands: Commands, gate: Path) -> str:
    """A run whose two agents work; of its own name, since tests run side by side."""
    run = new_run_id("two")
    commands("run", commands.plan(PLAN.format(gate=gate)), "--detach", "--id", run)
    for step in ("one", "two"):
        until((state(commands) / "worktrees" / run / step / step).exists, f"{step} never wrote")
    return run


def until(condition: Callable[[], object], complaint: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, complaint
        time.sleep(0.1)


def told_by(commands: Commands, *arguments: str) -> Told:
    return Told(commands.start(*arguments, stdout=subprocess.DEVNULL))


def state(commands: Commands) -> Path:
    return Path(commands.environment["XDG_STATE_HOME"], "branchwork")


def kill(commands: Commands, who: str) -> None:
    process = psutil.Process(json.loads((state(commands) / who / f"{who}.json").read_text())["pid"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait(SECONDS)


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Somebody else has the port; now and then the kernel has given it away already."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(socket.create_server((LOOPBACK, port)))
        yield


def kept(commands: Commands, run: str, step: str) -> list[str]:
    found = refs_of(commands.repository, f"refs/branchwork/{run}/attempts/{step}")
    return [files_of(commands.repository, commit)[step] for commit in found.values()]


def nothing_is_left(commands: Commands, run: str) -> bool:
    return not processes_of(run) and not worktrees_of(commands.repository)


def test_who_watches_is_told_of_a_dead_worker_and_sees_the_run_go_on(
    commands: Commands, gate: Path
) -> None:
    run = under_way(commands, gate)
    watching, reading = told_by(commands, "watch", run), told_by(commands, "logs", "-f", run, "one")
    watching.until("two: running")

    kill(commands, "worker")
    watching.until(r"worker lost, waiting for one \(`branchwork up` starts one\)")
    reading.until("worker lost")
    commands("up")
    gate.touch()

    assert watching.code() == 0, watching.text
    assert reading.code() == 0, reading.text
    assert "after: succeeded" in watching.text
    assert watching.text.count("worker lost, waiting for one") == 1


def test_a_dead_server_ends_no_command_that_follows_a_run(
    commands: Commands, gate: Path, tmp_path: Path
) -> None:
    run, log = under_way(commands, gate), tmp_path / "log"
    with log.open("w") as file:
        reading = Told(commands.start("logs", "-f", run, "one", stdout=file.fileno()))
    watching = [
        told_by(commands, *command)
        for command in (["watch", run], ["run", "plan.yaml", "--id", run])
    ]
    for watcher in watching:
        watcher.until("two: running")
    until(log.read_text, "the log was never followed")
    followers = [reading, *watching]

    kill(commands, "server")
    for follower in followers:
        follower.until(r"server lost, waiting for it \(`branchwork up` starts it again\)")
    commands("up")
    for follower in followers:
        follower.until("the server is back")
    gate.touch()

    assert [follower.code() for follower in followers] == [0, 0, 0]


def test_a_server_that_comes_back_on_another_port_is_found(commands: Commands, gate: Path) -> None:
    run = under_way(commands, gate)
    watching = told_by(commands, "watch", run)
    watching.until("two: running")

    kill(commands, "server")
    with taken(int(commands.environment["BRANCHWORK_SERVER_PORT"])):
        up = commands("up")
        watching.until("the server is back")
        gate.touch()
        code = watching.code()

    assert "using port" in up.stderr
    assert code == 0, watching.text


@pytest.fixture
def host_b(commands: Commands, tmp_path: Path) -> Iterator[Commands]:
    """Another host, with a state folder of its own."""
    with commands_in(commands.repository, tmp_path / "b") as host:
        host.environment["BRANCHWORK_HOST"] = "host-b"
        yield host


def worker_on(host: Commands, commands: Commands) -> "subprocess.Popen[str]":
    """Its worker, for steps that run on label `b`."""
    server = json.loads((state(commands) / "server" / "server.json").read_text())
    host.environment["TEMPORAL_ADDRESS"] = f"{LOOPBACK}:{server['port']}"
    return host.start("worker", "--label", "b", stdout=subprocess.DEVNULL)


def test_a_host_that_is_missing_is_named_and_so_is_a_step_that_nobody_takes(
    commands: Commands, host_b: Commands, gate: Path
) -> None:
    plan = PLAN.format(gate=gate).replace("id: two", "id: two\n    runs_on: [b]")
    run = new_run_id("two")
    commands("run", commands.plan(plan), "--detach", "--id", run)
    watching = told_by(commands, "watch", run)

    watching.until("no worker takes step two")
    first = worker_on(host_b, commands)
    said = Told(first)
    watching.until("there is a worker for step two")
    until((state(host_b) / "worktrees" / run / "two" / "two").exists, "no work began")
    time.sleep(2)
    first.kill()
    watching.until("worker on host-b lost, waiting for it")
    second = worker_on(host_b, commands)
    last = Told(second)
    watching.until("the worker on host-b is back|a worker is back on host-b")
    gate.touch()
    code = watching.code()
    second.terminate()

    assert code == 0, watching.text
    assert "worker lost" not in watching.text
    assert last.code() == 0
    assert said.code() != 0


def test_up_brings_back_exactly_what_is_missing(commands: Commands, gate: Path) -> None:
    run = under_way(commands, gate)

    nothing = commands("up")
    kill(commands, "worker")
    worker = commands("up")
    kill(commands, "server")
    server = commands("up")
    kill(commands, "server")
    kill(commands, "worker")
    both = commands("up")
    gate.touch()
    watched = commands("watch", run)

    said = [
        [who in done.stderr for who in ("starting a Temporal server", "starting a worker")]
        for done in (nothing, worker, server, both)
    ]
    assert said == [[False, False], [False, True], [True, False], [True, True]]
    assert watched.returncode == 0, watched.stderr


def test_ctrl_c_detaches_while_server_and_worker_are_lost(commands: Commands, gate: Path) -> None:
    run = under_way(commands, gate)
    process = commands.start("watch", run, stdout=subprocess.DEVNULL)
    watching = Told(process)
    watching.until("two: running")

    kill(commands, "worker")
    kill(commands, "server")
    watching.until("server lost")
    interrupt(process)

    assert watching.code() == 130
    assert "the run goes on" in watching.text


def test_a_cancel_tells_of_each_step_what_was_kept_and_where(
    commands: Commands, gate: Path
) -> None:
    run = under_way(commands, gate)

    one = commands("cancel", run, "--step", "one")
    cancelled = commands("cancel", run)

    ref = f"refs/branchwork/{run}/attempts"
    assert f"one cancelled: 1 file kept on {ref}/one/1" in one.stderr
    assert f"one cancelled: 1 file kept on {ref}/one/1" in cancelled.stderr
    assert f"two cancelled: 1 file kept on {ref}/two/1" in cancelled.stderr
    assert kept(commands, run, "two") == ["mine"]
    assert processes_of(run) == []
    assert worktrees_of(commands.repository) == []


def test_a_cancel_waits_for_a_worker_and_may_be_left_and_asked_again(
    commands: Commands, gate: Path
) -> None:
    run = under_way(commands, gate)
    kill(commands, "worker")
    first = commands.start("cancel", run, stdout=subprocess.DEVNULL)
    left, second = Told(first), told_by(commands, "cancel", run)

    left.until("no worker answers; its agents are ended when one is back: branchwork up")
    interrupt(first)
    code = left.code()
    second.until("no worker answers")
    commands("up")

    assert (code, second.code()) == (130, 0), second.text
    assert "it ends by itself" in left.text
    assert f"{run} cancelled" in second.text
    until(lambda: nothing_is_left(commands, run), "something is left")
    assert kept(commands, run, "one") == ["mine"]
    assert kept(commands, run, "two") == ["mine"]


def test_a_step_is_cancelled_once_a_worker_is_back(commands: Commands, gate: Path) -> None:
    run = under_way(commands, gate)
    kill(commands, "worker")

    cancelling = told_by(commands, "cancel", run, "--step", "one")
    cancelling.until("no worker answers")
    commands("up")

    assert cancelling.code() == 0, cancelling.text
    assert "one cancelled" in cancelling.text
    assert commands.json("status", run)["steps"][0]["outcome"] == "cancelled"


def test_a_cancel_goes_on_when_its_server_is_back(commands: Commands, gate: Path) -> None:
    run = under_way(commands, gate)
    kill(commands, "worker")
    cancelling = told_by(commands, "cancel", run)
    cancelling.until("no worker answers")

    kill(commands, "server")
    cancelling.until("server lost")
    commands("up")

    assert cancelling.code() == 0, cancelling.text
    assert f"{run} cancelled" in cancelling.text


def test_a_run_of_which_nothing_has_begun_is_cancelled_too(commands: Commands) -> None:
    commands("up")
    kill(commands, "worker")
    plan = commands.plan("plan: p\nmax_parallel: 1\nsteps:\n  - {id: a, run: 'true'}\n")
    address = f"{LOOPBACK}:{commands.environment['BRANCHWORK_SERVER_PORT']}"
    commands("run", plan, "--detach", "--id", "p-1", environment={"TEMPORAL_ADDRESS": address})

    cancelling = told_by(commands, "cancel", "p-1")
    cancelling.until("no worker answers")
    commands("up")

    assert cancelling.code() == 0, cancelling.text
    assert "p-1 cancelled" in cancelling.text


def test_a_cancel_without_a_server_says_how_to_get_one(commands: Commands, gate: Path) -> None:
    run = under_way(commands, gate)
    kill(commands, "server")

    refused = commands("cancel", run)

    assert refused.returncode == 1
    assert "start one with `branchwork up`" in refused.stderr


def test_down_says_what_goes_on_without_it_and_up_takes_it_up_again(
    commands: Commands, gate: Path
) -> None:
    run = under_way(commands, gate)

    down = commands("down")
    running = processes_of(run)
    commands("up")
    gate.touch()
    watched = commands("watch", run)

    assert "2 agents go on running without a worker" in down.stderr
    assert "1 run is under way and goes on after `branchwork up`" in down.stderr
    assert running
    assert watched.returncode == 0, watched.stderr
    assert [step["attempts"] for step in commands.json("status", run)["steps"]] == [1, 1, 1]


def test_down_ends_agents_when_asked_to_and_their_steps_begin_anew(
    commands: Commands, gate: Path
) -> None:
    run = under_way(commands, gate)
    kill(commands, "worker")

    down = commands("down", "--agents")
    left = [*processes_of(run), *worktrees_of(commands.repository)]
    again = commands("down", "--agents")
    gate.touch()
    commands("up")
    watched = commands("watch", run)

    for step in ("one", "two"):
        ref = f"refs/branchwork/{run}/attempts/{step}/1"
        assert f"agent of {step} of {run}: ended, its work is kept on {ref}" in down.stderr
    assert left == []
    assert "neither server nor worker" in again.stderr
    assert watched.returncode == 0, watched.stderr
