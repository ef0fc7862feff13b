"""What the environment says, read once and checked."""

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field
from temporalio.envconfig import ClientConfig

from branchwork.labels import Labels, bad_labels, sorted_labels
from branchwork.models import Message

LOOPBACK = "127.0.0.1"

_HIGHEST_PORT = 65535
_MOST_SLOTS = 1000
_LONGEST_HOST = 200
"""It is part of a task queue's name and of every heartbeat."""

_BUILD = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""Temporal joins the two with a dot."""


class SettingsError(Exception):
    """The environment cannot be used; the text names the variable and what it may be."""


class Build(NamedTuple):
    """Which code a worker runs: runs under way stay on the build that they began on."""

    deployment: str
    id: str


class Settings(Message):
    """Where Branchwork keeps its state and which Temporal it talks to."""

    state: Path
    """`$XDG_STATE_HOME/branchwork`; its last part is always `branchwork`."""
    address: str
    """Of the Temporal frontend, `host:port`. Unless configured, the embedded server's wish."""
    configured: bool
    """Whether a `TEMPORAL_*` variable or a profile says which Temporal: then none is started."""
    connect: Mapping[str, Any] = Field(repr=False)
    """Arguments of `Client.connect`, `target_host` and `namespace` always among them."""
    namespace: str
    host: str
    """This machine's name in reports and queues."""
    server_port: int
    ui_port: int
    """Ports that an embedded server takes if they are free."""
    ui: str | None
    """Address of the Web UI without a last slash; None if nobody said: ask the connection."""
    slots: int
    """Attempts that a worker of this host runs at once."""
    labels: Labels = ()
    """What a worker of this host is good for, beside steps that any may run."""

    build: Build | None = None
    """None where workers are not told apart by their code, as on a laptop."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError for the first variable that cannot be used."""
        port = _number(environ, "BRANCHWORK_SERVER_PORT", 7233, _HIGHEST_PORT)
        configured = _configured_connection(environ)
        connect = {
            "target_host": f"{LOOPBACK}:{port}",
            "namespace": "default",
            **configured,
        }
        return cls(
            state=_state_home(environ) / "branchwork",
            address=connect["target_host"],
            configured=bool(configured),
            connect=connect,
            namespace=connect["namespace"],
            host=_host(environ),
            server_port=port,
            ui_port=_number(environ, "BRANCHWORK_UI_PORT", 8233, _HIGHEST_PORT),
            ui=_ui(environ),
            slots=_number(environ, "BRANCHWORK_SLOTS", 16, _MOST_SLOTS),
            labels=_labels(environ),
            build=_build(environ),
        )


def _state_home(environ: Mapping[str, str]) -> Path:
    named = Path(environ.get("XDG_STATE_HOME", ""))
    # The XDG specification: a relative path is invalid and to be ignored.
    return named if named.is_absolute() else _home(environ) / ".local" / "state"


def _home(environ: Mapping[str, str]) -> Path:
    named = Path(environ.get("HOME", ""))
    if named.is_absolute():
        return named
    try:
        return Path.home()
    except RuntimeError as error:
        raise SettingsError(
            "HOME is not set and this user has no home folder;"
            " set XDG_STATE_HOME to the absolute path of a folder to keep state in"
        ) from error


def _configured_connection(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """What `TEMPORAL_*` variables and the profile say; empty if they say nothing."""
    _require_profiles(environ)
    try:
        return {**ClientConfig.load_client_connect_config(override_env_vars=dict(environ))}
    except (OSError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"the TEMPORAL_* variables and the profile in temporal.toml cannot be used: {error}"
        ) from error


def _require_profiles(environ: Mapping[str, str]) -> None:
    # The SDK takes a missing file for an empty one: a slip would start a server of our own.
    named = environ.get("TEMPORAL_CONFIG_FILE")
    if named and not Path(named).is_file():
        raise SettingsError(f"TEMPORAL_CONFIG_FILE is {named!r}, and there is no such file")


def _host(environ: Mapping[str, str]) -> str:
    host = environ.get("BRANCHWORK_HOST") or socket.gethostname()
    if not host.isprintable() or host != "".join(host.split()):
        raise SettingsError(f"BRANCHWORK_HOST is {host!r}; a host's name has no spaces in it")
    if len(host) > _LONGEST_HOST:
        raise SettingsError(
            f"BRANCHWORK_HOST has {len(host)} characters; {_LONGEST_HOST} are the most"
        )
    return host


def _labels(environ: Mapping[str, str]) -> Labels:
    labels = [label.strip() for label in environ.get("BRANCHWORK_LABELS", "").split(",")]
    given = [label for label in labels if label]
    if wrong := bad_labels(given):
        raise SettingsError(f"BRANCHWORK_LABELS: {wrong}; write it as gpu,linux")
    return sorted_labels(given)


def _build(environ: Mapping[str, str]) -> Build | None:
    deployment, build = environ.get("BRANCHWORK_DEPLOYMENT"), environ.get("BRANCHWORK_BUILD_ID")
    if not (deployment or build):
        return None
    if not (deployment and build):
        raise SettingsError("BRANCHWORK_DEPLOYMENT and BRANCHWORK_BUILD_ID go together; set both")
    for name, value in (("BRANCHWORK_DEPLOYMENT", deployment), ("BRANCHWORK_BUILD_ID", build)):
        if not _BUILD.fullmatch(value):
            raise SettingsError(
                f"{name} is {value[:80]!r}; it must be 1 to 80 of A-Z, a-z, 0-9, '_' and '-'"
            )
    return Build(deployment, build)


def _ui(environ: Mapping[str, str]) -> str | None:
    address = environ.get("BRANCHWORK_UI_ADDRESS")
    if address and not address.startswith(("http://", "https://")):
        raise SettingsError(
            f"BRANCHWORK_UI_ADDRESS is {address!r}; write it as http://localhost:8233"
        )
    return address.rstrip("/") if address else None


def _number(environ: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = environ.get(name) or str(default)
    # isdecimal alone takes digits of other scripts, and int() of 5,000 of them raises.
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most))):
        raise SettingsError(f"{name} is {text[:40]!r}; it must be a number from 1 to {most}")
    if not 1 <= int(text) <= most:
        raise SettingsError(f"{name} is {text}; it must be a number from 1 to {most}")
    return int(text)
