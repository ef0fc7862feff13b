"""What an agent that is a program finds around it: its environment and its files."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from activities.agents.base import PROMPT_FILE, AgentWork
from activities.lines import Secrets
from activities.records import write_private
from activities.spool import Launch, Spool

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


class Desk:
    """Of one attempt; `environment` is the worker's."""

    def __init__(self, work: AgentWork, environment: Mapping[str, str]) -> None:
        self._work = work
        self._worker = environment
        self.files = Files(work.folder)

    @property
    def missing(self) -> list[str]:
        """What the plan names and the worker does not have."""
        return [name for name in self._taken if name not in self._worker]

    @property
    def secrets(self) -> Secrets:
        """What the plan names and does not write down; not what every agent gets anyway."""
        hidden = [name for name in self._taken if not _is_handed_on(name)]
        return Secrets({name: self._worker.get(name, "") for name in hidden})

    @property
    def environment(self) -> dict[str, str]:
        """All of the program's."""
        handed_on = {name: value for name, value in self._worker.items() if _is_handed_on(name)}
        named = {
            name: self._worker[name] if value is None else value
            for name, value in self._work.environment.items()
        }
        told = {**_told(self._work), **self.files.told(), **self._work.marker}
        # There is no terminal, but programs that ask for its kind fail when there is no answer.
        return {**handed_on, "TERM": "dumb", **named, **told}

    @property
    def _taken(self) -> list[str]:
        return [name for name, value in self._work.environment.items() if value is None]


class Files:
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
