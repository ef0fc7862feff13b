"""The agent that is a command: a script or a program, told by environment and files."""

import asyncio
import json
import os
import shutil
import signal
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from activities.agents.base import PROMPT_FILE, AgentEnd, AgentWork, Watch
from activities.agents.limits import ended_within
from activities.blocking import to_its_end
from activities.lines import Capture, LogFile, Secrets
from activities.process import CannotStartError, Process, Program, adopted, is_left, running
from activities.records import write_private
from activities.spool import Launch, Spool
from branchwork.fields import Params
from branchwork.plan import AgentSpec

OUTPUT_BYTES = 64 * 1024

HANDED_ON = frozenset(
    {
        # Who and where the user is: programs, their settings and their logins.
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LANG", "LANGUAGE", "TZ"),
        *("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"),
        *("XDG_RUNTIME_DIR", "SSH_AUTH_SOCK"),
        # The way out of the network: without these, nothing behind a proxy reaches its API.
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        "NODE_EXTRA_CA_CERTS",
    }
)
"""What every agent gets of the worker's environment, beside `LC_*`. No one's keys, and nothing
that would point it at our server (TEMPORAL_*), our telemetry (OTEL_*) or another repository
(GIT_*); a plan may name those, as any other."""

_EX_TEMPFAIL = 75
_ENDING = {
    number.value: number.name
    for number in (
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGILL, signal.SIGABRT),
        *(signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE),
        *(signal.SIGALRM, signal.SIGTERM, signal.SIGXCPU, signal.SIGXFSZ),
    )
}
"""Signals that end programs."""

_Follow = Callable[
    [Capture, Mapping[str, str], Callable[[], bool]], AbstractAsyncContextManager[Process]
]


class BadOutputError(ValueError):
    """What an agent wrote as its output cannot be handed on; the text says why."""


class CommandAgent:
    """Of kind `command`. `environment` is the worker's."""

    def __init__(self, spec: AgentSpec, environment: Mapping[str, str]) -> None:
        self._command = _command(spec.run)
        self._environment = environment

    async def work(self, work: AgentWork, watch: Watch) -> AgentEnd:
        """Safe to call again for the same attempt: the log goes on, the rest begins anew."""
        if missing := [name for name in self._taken(work) if name not in self._environment]:
            return _missing_environment(missing)
        files = _Files(work.folder)
        launch = await to_its_end(asyncio.ensure_future(asyncio.to_thread(files.write, work)))
        folder, environment = work.worktree, self._whole(work, files)
        program = Program(self._command, folder, environment, files.prompt, files.spool)
        start = partial(running, program)
        try:
            return await self._followed(work, launch, watch, start)
        except CannotStartError as error:
            return _failed("CannotStart", str(error), transient=error.transient, again=False)

    def is_left(self, work: AgentWork) -> bool:
        return is_left(Spool(work.folder), work.marker)

    def forget(self, work: AgentWork) -> None:
        Spool(work.folder).forget_output()

    async def go_on(self, work: AgentWork, watch: Watch) -> AgentEnd:
        spool = Spool(work.folder)
        launch = spool.launch()
        if launch is None:
            raise AssertionError(f"an agent was found in {work.folder} and no start of it")
        return await self._followed(work, launch, watch, partial(adopted, spool))

    async def _followed(
        self, work: AgentWork, launch: Launch, watch: Watch, follow: _Follow
    ) -> AgentEnd:
        files, secrets = _Files(work.folder), self._secrets(work)
        with LogFile(files.log, keep_bytes=launch.log_bytes) as log:
            capture = Capture(log, watch.line, secrets)
            async with follow(capture, work.marker, watch.leave) as process:
                watch.began(launch.started_at, f"process {process.pid}")
                limit = await ended_within(process, work, launch.started_at)
        if files.spool.pid() is None:
            text = f"nothing could be written in {work.folder}; see whether its disk is full"
            return _failed("CannotStart", text, transient=True)
        if limit:
            text = _with_tail(limit.text, capture.tail())
            return AgentEnd(
                ok=False,
                name=limit.name,
                text=text,
                timed_out=True,
                exit_code=process.exit_code,
            )
        end = _ended(process.exit_code, capture.tail())
        return _with_output(end, files.output, secrets) if end.ok else end

    def _taken(self, work: AgentWork) -> list[str]:
        return [name for name, value in work.environment.items() if value is None]

    def _secrets(self, work: AgentWork) -> Secrets:
        """What the plan names and does not write down; not what every agent gets anyway."""
        hidden = [name for name in self._taken(work) if not _is_handed_on(name)]
        return Secrets({name: self._environment.get(name, "") for name in hidden})

    def _whole(self, work: AgentWork, files: "_Files") -> dict[str, str]:
        handed_on = {
            name: value for name, value in self._environment.items() if _is_handed_on(name)
        }
        named = {
            name: self._environment[name] if value is None else value
            for name, value in work.environment.items()
        }
        # There is no terminal, but programs that ask for its kind fail when there is no answer.
        return {**handed_on, "TERM": "dumb", **named, **_told(work), **files.told(), **work.marker}


class _Files:
    """What an agent reads and writes beside its worktree; only its owner may look."""

    def __init__(self, folder: Path) -> None:
        self.prompt = folder / PROMPT_FILE
        self.params = folder / "params.json"
        self.needs = folder / "needs.json"
        self.output = folder / "output.json"
        self.log = folder / "output.log"
        self.spool = Spool(folder)

    def write(self, work: AgentWork) -> Launch:
        self.prompt.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.prompt, _encoded(work.prompt or ""))
        write_private(self.params, _encoded(json.dumps(dict(work.params), ensure_ascii=False)))
        write_private(self.needs, _encoded(json.dumps(dict(work.outputs), ensure_ascii=False)))
        # Of an earlier try, which this one must not be taken for.
        if self.output.is_dir() and not self.output.is_symlink():
            shutil.rmtree(self.output)
        self.output.unlink(missing_ok=True)
        log_bytes = self.log.stat().st_size if self.log.exists() else 0
        launch = Launch(started_at=datetime.now(UTC), log_bytes=log_bytes)
        self.spool.begin(launch)
        return launch

    def told(self) -> dict[str, str]:
        return {
            "BRANCHWORK_PARAMS": str(self.params),
            "BRANCHWORK_NEEDS": str(self.needs),
            "BRANCHWORK_OUTPUT": str(self.output),
        }


def read_output(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None if there is no such file. Raises BadOutputError."""
    try:
        # Not through a link, and without waiting for whoever should write into a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadOutputError(f"cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BadOutputError("is not a file")
        if found.st_size > OUTPUT_BYTES:
            raise BadOutputError(
                f"has {found.st_size} bytes, the most is {OUTPUT_BYTES}; leave the long part in"
                " a file of the worktree and hand on its path"
            )
        return _parsed(os.read(descriptor, OUTPUT_BYTES))
    finally:
        os.close(descriptor)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        output = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadOutputError(f"is not JSON: {error}") from error
    if not isinstance(output, dict):
        raise BadOutputError(f"holds a JSON {type(output).__name__}; it must be an object")
    try:
        TypeAdapter[Mapping[str, Any]](Params).validate_python(output)
    except ValidationError as error:
        raise BadOutputError(f"cannot be handed on: {error.errors()[0]['msg']}") from error
    return output


def _with_output(end: AgentEnd, path: Path, secrets: Secrets) -> AgentEnd:
    try:
        output = read_output(path)
    except BadOutputError as error:
        return _failed("BadOutput", f"what the agent wrote to BRANCHWORK_OUTPUT {error}")
    return AgentEnd(ok=True, output=_hidden(output, secrets), exit_code=end.exit_code)


def _hidden(value: Any, secrets: Secrets) -> Any:
    if isinstance(value, str):
        return secrets.hide_in(value)
    if isinstance(value, list):
        return [_hidden(inner, secrets) for inner in value]
    if isinstance(value, dict):
        return {secrets.hide_in(key): _hidden(inner, secrets) for key, inner in value.items()}
    return value


def _command(run: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(run, str):
        return ("/bin/sh", "-e", "-c", "--", run)
    return tuple(run)


def _is_handed_on(name: str) -> bool:
    return name in HANDED_ON or name.startswith("LC_")


def _told(work: AgentWork) -> dict[str, str]:
    return {
        "BRANCHWORK_RUN": work.run,
        "BRANCHWORK_STEP": work.step,
        "BRANCHWORK_AGENT": work.agent,
        "BRANCHWORK_ACTION": work.action,
        "BRANCHWORK_ATTEMPT": str(work.attempt),
        "BRANCHWORK_CREATES": "\n".join(work.creates),
    }


def _encoded(text: str) -> bytes:
    return text.encode(errors="replace")


def _ended(exit_code: int | None, tail: str) -> AgentEnd:
    if exit_code == 0:
        return AgentEnd(ok=True, exit_code=0)
    return AgentEnd(
        ok=False,
        name="AgentFailed",
        text=_with_tail(_how(exit_code), tail),
        transient=exit_code == _EX_TEMPFAIL,
        exit_code=exit_code,
    )


def _how(exit_code: int | None) -> str:
    """A shell tells the end by a signal as 128 and its number; a program may exit so too."""
    if exit_code is None:
        return "it was killed, and nobody could see how"
    name = _ENDING.get(exit_code - 128)
    return f"ended by {name}" if name else f"exit {exit_code}"


def _with_tail(text: str, tail: str) -> str:
    return f"{text}\n{tail}" if tail else text


def _failed(name: str, text: str, *, transient: bool = False, again: bool = True) -> AgentEnd:
    return AgentEnd(ok=False, name=name, text=text, transient=transient, again=again)


def _missing_environment(names: Sequence[str]) -> AgentEnd:
    listed = ", ".join(names)
    return _failed(
        "MissingEnvironment",
        f"the plan names {listed} in 'env', and the worker does not have it; start the worker"
        " anew from a shell that has it: branchwork down && branchwork up",
        again=False,
    )
