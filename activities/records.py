"""The record of one attempt on this host's disk: what a second try of it looks at first."""

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from activities.agents.base import AgentEnd
from activities.git_faults import disk_faults_named
from branchwork.contract import AttemptEnd, AttemptRequest
from branchwork.models import Message

_PARTIAL = ".partial"
"""The end of a file's name while it is written; only who owns the step writes there."""


class Record(Message):
    """What is known of an attempt beside its worktree and its refs."""

    workflow_run: str
    """Temporal's run id: a reset, or an id used again, must not find the old end."""
    host: str
    request: AttemptRequest
    base: str | None = None
    """Commit of its worktree."""
    began: bool = False
    """Whether an agent may have worked in the worktree: then it holds work to keep."""
    started_at: datetime
    """When this host began with it."""
    agent_end: AgentEnd | None = None
    """What its agent ended with; what is left is to judge, keep and publish."""
    end: AttemptEnd | None = None


def read_record(folder: Path) -> Record | None:
    """None if there is none, or none that makes sense: then nothing is known.

    Raises OSError where the disk does not give it back: it may tell of work.
    """
    try:
        return Record.model_validate_json((folder / "record.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def last_record(attempts: Path) -> Record | None:
    """Of the newest attempt of a step that left one; `attempts` is the folder of all.

    None also if that one cannot be read: an older one would tell of other work.
    """
    found = [path for path in attempts.glob("*/record.json") if path.parent.name.isdecimal()]
    if not found:
        return None
    return read_record(max(found, key=lambda path: int(path.parent.name)).parent)


def write_record(folder: Path, record: Record) -> None:
    """Atomic: a reader sees the old one or the new one, also after the machine lost its power."""
    with disk_faults_named(f"writing the record in {folder}"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / "record.json", record.model_dump_json().encode(), lasting=True)


def write_private(path: Path, content: bytes, *, lasting: bool = False) -> None:
    """Replace `path` in one step; only its owner may read it. Leaves nothing half written.

    `lasting`: on the disk itself when this returns.
    """
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(descriptor)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    if lasting:
        _sync(path.parent)


def half_written(attempts: Path) -> list[Path]:
    """In the folders of a step's attempts; a file of its owner's may be among them."""
    return sorted(attempts.glob(f"*/.*{_PARTIAL}"))


def remove_partial(folder: Path) -> None:
    """What a worker that was killed had half written there."""
    for path in folder.glob(f".*{_PARTIAL}"):
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """The names in it: without this, a file that was synced can still be nameless."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
