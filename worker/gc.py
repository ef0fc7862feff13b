"""`python -m worker.gc`: `branchwork gc`, in a program that may look at git and processes."""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from temporalio.runtime import Runtime, TelemetryConfig

from activities.blocking import Blocking
from activities.gc import Collector
from activities.gc_scene import Scene
from activities.git import git_folder, top_folder
from activities.git_faults import GitError
from activities.leftovers import repositories_of
from branchwork.cli.connection import Connection, UnreachableError
from branchwork.cli.embedded import find_server
from branchwork.cli.leaving import leave
from branchwork.cli.main import exit_code
from branchwork.cli.output import Output
from branchwork.collecting import Leftover, Removal, Retention, line_of, sentence_of
from branchwork.durations import parse_duration, write_duration
from branchwork.names import StateFolder
from branchwork.settings import Settings
from branchwork.standing import Standing, standing_of
from worker.environment import environment

_THREADS = 4
_INTERRUPTED = 130


class Told:
    """What the user hears, as lines or as JSON."""

    def __init__(self, retention: Retention, *, as_json: bool) -> None:
        self._retention = retention
        self._as_json = as_json
        self._output = Output()
        self._entries: list[Mapping[str, object]] = []
        self.failures = 0

    def found(self, leftovers: Sequence[Leftover]) -> None:
        for leftover in leftovers:
            self._entries.append({**leftover.model_dump(mode="json"), "done": None})
            if not self._as_json:
                self._output.raw(line_of(leftover, self._retention.now))

    def removed(self, removal: Removal) -> None:
        entry = removal.leftover.model_dump(mode="json")
        self._entries.append({**entry, "done": removal.is_done, "became": removal.became})
        self.failures += not removal.is_done
        if self._as_json:
            return
        line = line_of(removal.leftover, self._retention.now)
        became = removal.became if removal.is_done else f"NOT DONE: {removal.became}"
        self._output.raw(f"{line}  → {became}")

    def say(self, sentence: str) -> None:
        self._output.say(sentence)

    def end(self, address: str | None) -> None:
        if self._as_json:
            kept = write_duration(self._retention.keep_for)
            told = {"server": address, "older_than": kept, "leftovers": self._entries}
            self._output.raw(json.dumps(told, indent=2, ensure_ascii=False))


def main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    # The SDK would log to stdout, where our answers go.
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)))
    try:
        leave(exit_code(_command))
    except KeyboardInterrupt:
        leave(_INTERRUPTED)


def _command() -> None:
    raise SystemExit(asyncio.run(_collect(_options(), environment())))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.gc", description=__doc__)
    parser.add_argument("--yes", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--older-than", type=parse_duration, default=timedelta(days=30))
    return parser.parse_args()


async def _collect(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = Settings.from_environment(environ)
    connection, silence = await _server(settings)
    now = datetime.now(UTC)
    retention = Retention(keep_for=options.older_than, now=now, has_server=bool(connection))
    told = Told(retention, as_json=options.json)
    if silence:
        told.say(
            f"{silence}. Without one nobody tells which runs have ended: their worktrees,"
            " processes, refs and records are left alone"
        )
    await _tell(
        Collector(_scene(settings, environ, connection, retention)), told, remove=options.yes
    )
    told.end(connection.address if connection else None)
    return 1 if told.failures or silence else 0


async def _tell(collector: Collector, told: Told, *, remove: bool) -> None:
    if remove:
        left = await collector.remove_all(told.removed)
        told.found(left)
        if left:
            told.say(f"{len(left)} left alone")
    else:
        found = await collector.find()
        told.found(found)
        told.say(sentence_of(found))


async def _server(settings: Settings) -> tuple[Connection | None, str | None]:
    """The server that runs are asked of, or why there is none."""
    try:
        return await find_server(settings), None
    except UnreachableError as error:
        return None, str(error)


def _scene(
    settings: Settings,
    environ: Mapping[str, str],
    connection: Connection | None,
    retention: Retention,
) -> Scene:
    state = StateFolder(settings.state)
    return Scene(
        state=state,
        host=settings.host,
        environ=environ,
        repositories=_repositories(state),
        retention=retention,
        blocking=Blocking(_THREADS),
        standing_of=partial(standing_of, connection.client) if connection else _unknown,
    )


async def _unknown(_: str) -> Standing | None:
    return None


def _repositories(state: StateFolder) -> tuple[Path, ...]:
    """Each once, although a worktree of it may be where the user stands."""
    found = {_shared(path): path for path in repositories_of(state)}
    with suppress(GitError, OSError):
        around = top_folder(Path.cwd())
        found.setdefault(_shared(around), around)
    return tuple(found.values())


def _shared(repository: Path) -> Path:
    with suppress(GitError, OSError):
        return git_folder(repository).resolve()
    return repository


if __name__ == "__main__":
    main()
