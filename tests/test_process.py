import asyncio
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from activities.lines import Capture, LogFile, Printed, Secrets, printable
from activities.process import (
    CannotStartError,
    Process,
    Program,
    exit_of,
    polled_exit_of,
    running,
)
from activities.spool import Launch, Spool
from activities.sweeping import marked_processes, sweep

IGNORES_TERM = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)\n"
Marker = dict[str, str]


@pytest.fixture
def marker() -> Iterator[Marker]:
    found = {"BRANCHWORK_RUN": f"test-{uuid4().hex}", "BRANCHWORK_ATTEMPT": "1"}
    yield found
    for process in marked_processes(found):
        process.kill()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    with LogFile(tmp_path / "output.log") as file:
        yield file


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def capture(log: LogFile, seen: list[str]) -> Capture:
    return Capture(log, seen.append, Secrets({}))


def environment(marker: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **marker}


def spawn(
    command: Sequence[str], marker: Mapping[str, str], *, session: bool = False
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=environment(marker), stdout=subprocess.PIPE, start_new_session=session
    )


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(popen: subprocess.Popen[bytes]) -> int:
    with popen:
        return popen.wait(timeout=20)


def program(command: Sequence[str], marker: Mapping[str, str], folder: Path) -> Program:
    stdin = folder / "stdin"
    stdin.touch()
    return Program(command, folder, environment(marker), stdin, spool_in(folder))


def spool_in(folder: Path) -> Spool:
    spool = Spool(folder / "spool")
    spool.folder.mkdir(exist_ok=True)
    spool.begin(Launch(started_at=datetime.now(UTC), log_bytes=0))
    return spool


def logged(folder: Path) -> bytes:
    return (folder / "output.log").read_bytes()


# Finding and sweeping


async def test_a_sweep_ends_every_process_that_carries_the_marker(marker: Marker) -> None:
    sleepers = [spawn(["sleep", "300"], marker) for _ in range(3)]

    count = await sweep(marker)

    assert count == 3
    assert {ended(sleeper) for sleeper in sleepers} == {-signal.SIGTERM}


async def test_a_sweep_spares_processes_that_lack_a_part_of_the_marker(marker: Marker) -> None:
    others = [
        spawn(["sleep", "300"], {**marker, "BRANCHWORK_ATTEMPT": "11"}),
        spawn(["sleep", "300"], {"BRANCHWORK_RUN": marker["BRANCHWORK_RUN"]}),
        spawn(["sleep", "300"], {"OTHER": f"BRANCHWORK_RUN={marker['BRANCHWORK_RUN']}"}),
    ]

    count = await sweep(marker)

    assert count == 0
    for other in others:
        assert other.poll() is None
        other.kill()
        ended(other)


def test_a_process_never_finds_itself(marker: Marker) -> None:
    script = (
        "import os; from activities.sweeping import marked_processes;"
        " m = {'BRANCHWORK_RUN': os.environ['BRANCHWORK_RUN']}; print(len(marked_processes(m)))"
    )

    found = subprocess.run(
        python(script),
        env={**environment(marker), "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        check=True,
    )

    assert found.stdout == b"0\n"


async def test_an_empty_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="every process"):
        await sweep({})


def test_a_zombie_is_not_found(marker: Marker) -> None:
    zombie = spawn(["true"], marker)
    wait_until(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE)

    found = marked_processes(marker)

    assert found == []
    ended(zombie)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start another user's process")
def test_a_process_of_another_user_is_not_found(marker: Marker) -> None:
    other = subprocess.Popen(["sleep", "300"], env=environment(marker), user=65534)

    found = marked_processes(marker)

    assert found == []
    other.kill()
    ended(other)


def test_a_process_is_found_in_the_midst_of_exec_too(marker: Marker) -> None:
    script = 'exec sh -c "$0" "$0"'
    restless = spawn(["sh", "-c", script, script], marker)

    found = [[process.pid for process in marked_processes(marker)] for _ in range(300)]

    assert found == [[restless.pid]] * 300
    restless.kill()
    ended(restless)


async def test_a_process_that_ignores_term_is_killed(marker: Marker) -> None:
    stubborn = spawn(python(IGNORES_TERM + "time.sleep(300)"), marker)
    assert stubborn.stdout
    assert stubborn.stdout.readline() == b"1\n"

    await sweep(marker, grace_seconds=0.2)

    assert ended(stubborn) == -signal.SIGKILL


def test_a_sweep_that_is_stopped_itself_kills_when_it_goes_on(marker: Marker) -> None:
    stubborn = spawn(python(IGNORES_TERM + "time.sleep(300)"), marker)
    assert stubborn.stdout
    stubborn.stdout.readline()
    program = (
        "import asyncio; from activities import sweeping; sweeping.KILLING_SECONDS = 0.1;"
        f"print(1, flush=True); asyncio.run(sweeping.sweep({dict(marker)!r}, 0.5))"
    )

    with spawn(python(program), {}) as sweeping:
        assert sweeping.stdout
        sweeping.stdout.readline()
        time.sleep(0.2)
        sweeping.send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        sweeping.send_signal(signal.SIGCONT)

    assert ended(stubborn) == -signal.SIGKILL


async def test_a_stopped_process_goes_on_to_end_in_order(marker: Marker, tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = f"trap 'echo bye > {shlex.quote(str(said))}; exit 7' TERM; echo 1; while :; do :; done"
    stopped = spawn(["sh", "-c", script], marker)
    assert stopped.stdout
    stopped.stdout.readline()
    stopped.send_signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(stopped.pid).status() == psutil.STATUS_STOPPED)

    await sweep(marker)

    assert ended(stopped) == 7
    assert said.read_text() == "bye\n"


async def test_a_process_is_asked_only_once_before_it_is_killed(
    marker: Marker, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    script = f"trap 'echo TERM >> {shlex.quote(str(said))}' TERM; echo 1; while :; do sleep 0; done"
    patient = spawn(["sh", "-c", script], marker)
    assert patient.stdout
    patient.stdout.readline()

    await sweep(marker, grace_seconds=0.5)

    assert ended(patient) == -signal.SIGKILL
    assert said.read_text() == "TERM\n"


async def test_what_a_process_tidies_up_with_is_not_ended_under_its_hands(
    marker: Marker, tmp_path: Path
) -> None:
    tidied = shlex.quote(str(tmp_path / "tidied"))
    script = f"trap 'sleep 0.3 && setsid touch {tidied}; exit' TERM; echo 1; while :; do :; done"
    orderly = spawn(["sh", "-c", script], marker, session=True)
    assert orderly.stdout
    orderly.stdout.readline()

    await sweep(marker, session=orderly.pid)

    assert ended(orderly) == 0
    assert (tmp_path / "tidied").exists()


async def test_what_is_forked_during_a_sweep_is_swept_too(marker: Marker, tmp_path: Path) -> None:
    again = shlex.quote(str(tmp_path / "again.sh"))
    Path(tmp_path / "again.sh").write_text(
        f"test $1 = 0 && exit\ntrap 'setsid sh {again} $(($1 - 1)) & exit' TERM\n"
        "echo 1\nwhile :; do sleep 0.01; done\n"
    )
    first = spawn(["sh", str(tmp_path / "again.sh"), "5"], marker)
    assert first.stdout
    first.stdout.readline()

    count = await sweep(marker)

    assert count > 1
    assert marked_processes(marker) == []
    ended(first)


async def test_a_sweep_of_a_session_ends_members_that_dropped_the_marker(marker: Marker) -> None:
    script = "env -i sleep 301 & env -i sleep 302 & echo 1; wait"
    leader = spawn(["sh", "-c", script], marker, session=True)
    assert leader.stdout
    leader.stdout.readline()
    children = psutil.Process(leader.pid).children()

    await sweep(marker, session=leader.pid)

    ended(leader)
    assert len(children) == 2
    assert psutil.wait_procs(children, timeout=10)[1] == []


# Running


async def run_to_its_end(
    command: Sequence[str], marker: Marker, capture: Capture, folder: Path
) -> Process:
    async with running(program(command, marker, folder), capture, marker) as process:
        assert await process.exited(60)
    return process


async def test_both_streams_arrive_in_the_log_byte_by_byte(
    marker: Marker, capture: Capture, tmp_path: Path
) -> None:
    script = r"printf 'a\0\377\n'; sleep 0.2; printf 'b\r\n' >&2; sleep 0.2; printf 'c'; exit 3"

    process = await run_to_its_end(["sh", "-c", script], marker, capture, tmp_path)

    assert process.exit_code == 3
    assert logged(tmp_path) == b"a\0\xff\nb\r\nc"


async def test_a_line_is_in_the_log_before_the_program_ends(
    marker: Marker, capture: Capture, seen: list[str], tmp_path: Path
) -> None:
    asked = program(["sh", "-c", "echo now; sleep 300"], marker, tmp_path)

    async with running(asked, capture, marker), asyncio.timeout(20):
        while not seen:
            await asyncio.sleep(0.01)
        so_far = logged(tmp_path)

    assert so_far == b"now\n"
    assert seen == ["now"]


async def test_a_program_gets_its_stdin_from_a_file_and_may_leave_it(
    marker: Marker, capture: Capture, tmp_path: Path
) -> None:
    (tmp_path / "stdin").write_bytes(b"x" * 5_000_000)

    reader = await run_to_its_end(["wc", "-c"], marker, capture, tmp_path)
    idler = await run_to_its_end(["true"], marker, capture, tmp_path)

    assert (reader.exit_code, idler.exit_code) == (0, 0)
    assert logged(tmp_path).strip() == b"5000000"


async def test_a_long_line_arrives_whole(
    marker: Marker, capture: Capture, seen: list[str], tmp_path: Path
) -> None:
    script = "import sys; sys.stdout.write('ab' * 5_000_000)"

    await run_to_its_end(python(script), marker, capture, tmp_path)

    assert logged(tmp_path) == b"ab" * 5_000_000
    assert {len(line) for line in seen[:-1]} == {200}


async def test_the_end_is_the_programs_whoever_still_holds_its_pipes(
    marker: Marker, capture: Capture, tmp_path: Path
) -> None:
    holder = "exec env -i setsid sleep 300"
    began = time.monotonic()

    process = await run_to_its_end(
        ["sh", "-c", f"sh -c '{holder}' & echo $!; sleep 0.3; exit 4"], marker, capture, tmp_path
    )

    assert process.exit_code == 4
    assert time.monotonic() - began < 10
    # Without a marker, and in a session of its own: that is no one's to end.
    os.kill(int(logged(tmp_path)), signal.SIGKILL)


async def test_what_a_program_leaves_behind_is_ended(
    marker: Marker, capture: Capture, tmp_path: Path
) -> None:
    script = "sleep 301 & setsid sleep 302 & (setsid sh -c 'sleep 303 & sleep 304' &) ; exit 0"

    process = await run_to_its_end(["sh", "-c", script], marker, capture, tmp_path)

    assert process.exit_code == 0
    assert marked_processes(marker) == []


async def test_a_program_that_ignores_term_is_killed_after_the_grace(
    marker: Marker, capture: Capture, seen: list[str], tmp_path: Path
) -> None:
    asked = program(python(IGNORES_TERM + "time.sleep(300)"), marker, tmp_path)
    began = time.monotonic()

    async with running(asked, capture, marker) as process:
        while not seen:
            await asyncio.sleep(0.01)

    assert process.exit_code == 128 + signal.SIGKILL
    assert 5 <= time.monotonic() - began < 15


async def test_last_words_after_term_are_in_the_log(
    marker: Marker, capture: Capture, seen: list[str], tmp_path: Path
) -> None:
    script = "trap 'echo bye; exit 9' TERM; echo here; while :; do sleep 0.01; done"

    async with running(program(["sh", "-c", script], marker, tmp_path), capture, marker) as process:
        while not seen:
            await asyncio.sleep(0.01)

    assert process.exit_code == 9
    assert b"bye\n" in logged(tmp_path)


async def test_a_shell_does_not_start_its_next_command_when_it_is_ended(
    marker: Marker, capture: Capture, seen: list[str], tmp_path: Path
) -> None:
    script = "echo here; sleep 300; touch next; sleep 300; touch next"

    async with running(program(["sh", "-c", script], marker, tmp_path), capture, marker):
        while not seen:
            await asyncio.sleep(0.01)

    assert not (tmp_path / "next").exists()


async def test_a_second_cancel_does_not_break_the_ending_off(
    marker: Marker, capture: Capture, seen: list[str], tmp_path: Path
) -> None:
    script = "trap 'sleep 0.5; echo bye; exit' TERM; echo here; while :; do sleep 0.01; done"
    task = asyncio.create_task(run_to_its_end(["sh", "-c", script], marker, capture, tmp_path))
    while not seen:
        await asyncio.sleep(0.01)

    for _ in range(4):
        task.cancel()
        await asyncio.sleep(0.1)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert marked_processes(marker) == []
    assert logged(tmp_path).endswith(b"bye\n")


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
async def test_a_cancel_at_any_moment_leaves_no_process(
    marker: Marker, capture: Capture, tmp_path: Path, turns: int
) -> None:
    task = asyncio.create_task(
        run_to_its_end(["sh", "-c", "setsid sleep 300 & exit 0"], marker, capture, tmp_path)
    )

    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert marked_processes(marker) == []


async def test_a_flood_of_output_leaves_time_for_others(
    marker: Marker, capture: Capture, tmp_path: Path
) -> None:
    turns = 0

    async with running(program(["yes"], marker, tmp_path), capture, marker):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            await asyncio.sleep(0.01)
            turns += 1

    assert turns > 5


async def test_fifty_runs_leave_no_process_task_or_descriptor(
    marker: Marker, capture: Capture, tmp_path: Path
) -> None:
    async def run() -> None:
        await run_to_its_end(["sh", "-c", "echo 1; echo 2 >&2"], marker, capture, tmp_path)

    await asyncio.gather(*(run() for _ in range(8)))
    before = counts()

    for _ in range(10):
        await asyncio.gather(*(run() for _ in range(5)))

    assert counts() == before
    assert marked_processes(marker) == []


def counts() -> tuple[int, ...]:
    ourselves = psutil.Process()
    return len(asyncio.all_tasks()), ourselves.num_fds(), len(ourselves.children())


@pytest.mark.parametrize("until_exit", [exit_of, polled_exit_of])
async def test_an_exit_is_seen_and_its_number_kept(
    marker: Marker, until_exit: Callable[[int], Awaitable[None]]
) -> None:
    child = spawn(["sleep", "0.2"], marker)

    async with asyncio.timeout(20):
        await until_exit(child.pid)

    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    assert ended(child) == 0


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("no-such-program", "there is no such program"),
        ("./plain", "not executable"),
        ("./headless", "first line names none"),
        ("./nothing", "no program"),
    ],
)
async def test_what_cannot_be_started_is_named_with_the_reason(
    marker: Marker, capture: Capture, tmp_path: Path, command: str, reason: str
) -> None:
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    for name, text in (("headless", "#!/no/such/shell\n"), ("nothing", "neither\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o700)

    with pytest.raises(CannotStartError, match=reason) as refused:
        await run_to_its_end([command], marker, capture, tmp_path)

    assert repr(command) in str(refused.value)
    assert not refused.value.transient


async def test_a_folder_that_is_gone_is_named(
    marker: Marker, capture: Capture, tmp_path: Path
) -> None:
    stdin = tmp_path / "stdin"
    stdin.touch()
    asked = Program(["true"], tmp_path / "gone", environment(marker), stdin, spool_in(tmp_path))

    with pytest.raises(CannotStartError, match="gone is not there"):
        async with running(asked, capture, marker):
            pass


# Lines


def test_a_log_goes_on_where_it_ended_and_is_private(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n"):
        with LogFile(tmp_path / "log") as log:
            log.write(text)

    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_full_log_says_so_once_and_drops_the_rest(tmp_path: Path) -> None:
    for _ in range(2):
        with LogFile(tmp_path / "log", limit_bytes=10) as log:
            log.write(b"123456\n")
            log.write(b"789012\n")
            log.write(b"345678\n")

    written = (tmp_path / "log").read_bytes()
    assert written.startswith(b"123456\n789\n")
    assert written.count(b"dropped") == 1
    assert len(written) < 120


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_ends_the_log_and_nothing_else(seen: list[str]) -> None:
    with LogFile(Path("/dev/full")) as log:
        capture = Capture(log, seen.append, Secrets({}))
        capture.take(capture.stdout, b"one\n")
        capture.take(capture.stdout, b"two\n")

    assert seen == ["one", "two"]


def test_a_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic"):
        LogFile(tmp_path / "log")

    assert not (tmp_path / "elsewhere").exists()


def test_a_line_that_one_stream_left_open_is_ended_before_the_others(
    capture: Capture, tmp_path: Path
) -> None:
    capture.take(capture.stdout, b"x" * 70_000)
    capture.take(capture.stderr, b"oh\n")
    capture.take(capture.stdout, b"y\n")

    assert logged(tmp_path) == b"x" * 70_000 + b"\noh\ny\n"


def test_the_last_line_is_watched_without_blank_ones(capture: Capture, seen: list[str]) -> None:
    capture.take(capture.stdout, b"one\ntwo\n\n \n")
    capture.take(capture.stdout, b"\n")
    capture.take(capture.stderr, b"half of ")

    assert seen == ["two"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"\x1b[1;31mred\x1b[0m\n", "red"),
        (b"\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link", "textlink"),
        (b"\x1b(Ba\x1b=b\x1b", "ab"),
        (b" 10%\r 90%\r100%\r\n", "100%"),
        (b"a\tb\x00c\x07\x08", "a bc"),
        (b"\xff\xfegr\xc3\xbcn", "\ufffd\ufffdgrün"),
        ("a\u202eb\u200bc\u2028d".encode(), "abc d"),
    ],
)
def test_a_line_is_shown_without_what_would_steer_a_terminal(line: bytes, shown: str) -> None:
    assert printable(line) == shown


def test_the_tail_is_the_last_twenty_lines_of_stderr(capture: Capture) -> None:
    capture.take(capture.stdout, b"out\n")
    capture.take(capture.stderr, b"".join(b"%d\n" % number for number in range(30)))
    capture.take(capture.stderr, b"30\n31")
    capture.end(capture.stderr)

    assert capture.tail().split("\n") == [str(number) for number in range(12, 32)]


def test_the_tail_is_that_of_stdout_if_stderr_is_empty(capture: Capture) -> None:
    capture.take(capture.stdout, b"out\n")
    capture.take(capture.stderr, b"\n")

    assert capture.tail() == "out"


def test_the_tail_is_bounded(capture: Capture) -> None:
    capture.take(capture.stderr, "ü".encode() * 1_000_000 + b"\n")
    for _ in range(30):
        capture.take(capture.stderr, "ü".encode() * 5_000 + b"\n")

    assert 3000 < len(capture.tail().encode()) <= 4000


SECRET = "s3cr+t.value"  # noqa: S105  # of no one


@pytest.mark.parametrize("size", [1, 5, 1000, 65_536])
@pytest.mark.parametrize("before", [b"", b"x" * 65_530, b"x" * 131_070, b"line\n" * 20_000])
def test_a_secret_is_hidden_wherever_the_reads_cut_it(size: int, before: bytes) -> None:
    printed = Printed(Secrets({"TOKEN": SECRET}))
    data = before + SECRET.encode() + b"|" + SECRET.encode()
    # Pieces of one byte only where it matters; elsewhere they are merely slow.
    start = max(0, len(before) - 100) if size < 100 else 0
    pieces = [data[:start], *(data[at : at + size] for at in range(start, len(data), size))]

    shown = b"".join([*map(printed.take, pieces), printed.end()])

    assert shown == before + b"[TOKEN]|[TOKEN]"


def test_a_secret_of_several_lines_is_hidden_line_by_line() -> None:
    secrets = Secrets({"KEY": "-----BEGIN-----\nabcdefgh\n}\n"})

    hidden = secrets.hide(b"it is\n-----BEGIN-----\n  abcdefgh\n}\n")

    assert hidden == b"it is\n[KEY]\n  [KEY]\n}\n"


def test_of_two_secrets_the_longer_is_hidden_first_and_short_ones_are_not() -> None:
    secrets = Secrets({"A": "TOKEN1", "B": "TOKEN1-long", "C": "12345"})

    assert secrets.hide(b"TOKEN1-long TOKEN1 12345") == b"[B] [A] 12345"
