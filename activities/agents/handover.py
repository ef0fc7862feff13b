"""What passes between a plan and a command: its environment, its files, its output.

Values never enter a shell string; they travel as environment and files.
"""

import json
import os
import stat
from collections.abc import Mapping
from typing import Any, NoReturn

from activities.agents.base import AgentWork
from activities.records import write_private

MOST_OUTPUT_BYTES = 64 * 1024

_HANDED_ON = frozenset(
    {
        # Who, where, and how to talk: what every program expects.
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM"),
        # How to reach the network from here.
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        # Git over ssh, without a key in a plan.
        "SSH_AUTH_SOCK",
    }
)
_HANDED_ON_PREFIXES = ("LC_", "XDG_")

_SHORTEST_SECRET = 6
"""Hiding shorter values would hide ordinary words."""


class MissingVariableError(Exception):
    """The plan names a variable that this worker has not."""


class BadOutputError(Exception):
    """The output file holds no JSON object, or too much."""


def environment_for(work: AgentWork, environ: Mapping[str, str]) -> dict[str, str]:
    """A clean one: an allow-list of the worker's, what the plan names, and what we tell.

    Raises MissingVariableError.
    """
    handed_on = {
        name: value
        for name, value in environ.items()
        if name in _HANDED_ON or name.startswith(_HANDED_ON_PREFIXES)
    }
    return {**handed_on, **_named(work.environment, environ), **_ours(work)}


def _named(wanted: Mapping[str, str | None], environ: Mapping[str, str]) -> dict[str, str]:
    named = {}
    for name, value in wanted.items():
        if value is None and name not in environ:
            raise MissingVariableError(
                f"the plan names the environment variable {name}, which the worker does not"
                " have; start the worker from where it is set: `branchwork down`, then"
                " `branchwork up`"
            )
        named[name] = environ[name] if value is None else value
    return named


def _ours(work: AgentWork) -> dict[str, str]:
    return {
        "BRANCHWORK_RUN": work.run,
        "BRANCHWORK_STEP": work.step,
        "BRANCHWORK_AGENT": work.agent,
        "BRANCHWORK_ACTION": work.action,
        "BRANCHWORK_ATTEMPT": str(work.attempt),
        "BRANCHWORK_CREATES": "\n".join(work.creates),
        "BRANCHWORK_PROMPT_FILE": str(work.folder / "prompt"),
        "BRANCHWORK_PARAMS": str(work.folder / "params.json"),
        "BRANCHWORK_NEEDS": str(work.folder / "needs.json"),
        "BRANCHWORK_OUTPUT": str(work.folder / "output.json"),
    }


def secrets_of(work: AgentWork, environ: Mapping[str, str]) -> dict[str, str]:
    """Values that the plan takes from the worker by name: nobody is to read them in a log."""
    return {
        name: environ[name]
        for name, value in work.environment.items()
        if value is None and len(environ.get(name, "")) >= _SHORTEST_SECRET
    }


def write_files(work: AgentWork) -> None:
    """Prompt, parameters and the outputs of needs; an output of an earlier try goes."""
    work.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(work.folder / "prompt", work.prompt.encode())
    write_private(work.folder / "params.json", json.dumps(dict(work.params)).encode())
    write_private(work.folder / "needs.json", json.dumps(dict(work.outputs)).encode())
    (work.folder / "output.json").unlink(missing_ok=True)


def read_output(work: AgentWork) -> dict[str, Any] | None:
    """None if the agent wrote none. Raises BadOutputError."""
    path = work.folder / "output.json"
    try:
        # Not through a link, and without waiting for the other end of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadOutputError(f"BRANCHWORK_OUTPUT cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadOutputError("BRANCHWORK_OUTPUT is no file")
        content = file.read(MOST_OUTPUT_BYTES + 1)
    if len(content) > MOST_OUTPUT_BYTES:
        raise BadOutputError(f"BRANCHWORK_OUTPUT holds more than {MOST_OUTPUT_BYTES:,} bytes")
    return _parsed(content)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadOutputError(f"BRANCHWORK_OUTPUT is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadOutputError(f"BRANCHWORK_OUTPUT holds {type(value).__name__}, not a JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
