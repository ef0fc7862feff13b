"""A worker process on disks of its own: small ones, and ones it may not write to.

They are mounted in a namespace that one sleeping process holds, so that nothing is left when
it ends.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
from temporalio.client import Client

from branchwork.names import StateFolder
from workers import Host

SPACE = ("unshare", "--map-root-user", "--mount")


@cache
def _why_not() -> str | None:
    """Why this machine cannot mount; None if it can."""
    try:
        subprocess.run(
            [*SPACE, "mount", "-t", "tmpfs", "none", "/mnt"], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no mounts in a namespace of one's own here: {error}"
    return None


needs_mounts = pytest.mark.skipif(_why_not() is not None, reason=str(_why_not()))


class DiskHost(Host):
    """A host whose worker sees other disks than we do."""

    def __init__(
        self, client: Client, holder: "subprocess.Popen[bytes]", environ: Mapping[str, str]
    ) -> None:
        self._holder = holder
        self._environ = environ
        state = StateFolder(Path(environ["XDG_STATE_HOME"], "branchwork"))
        super().__init__(client, StateFolder(self.seen(state.root)))

    def start_worker(self) -> None:
        command = f"exec {sys.executable} -P -m worker --slots 4 2>>{self._environ['HOME']}/log"
        self.worker = subprocess.Popen(
            [*self._enter, "sh", "-c", command], env=self._environ, stdin=subprocess.DEVNULL
        )

    def kill_worker(self) -> None:
        self.worker.kill()
        self.worker.wait()

    def stop_worker(self) -> None:
        self.worker.terminate()
        self.worker.wait(60)

    def seen(self, path: Path) -> Path:
        """`path` of the worker, as it can be reached from here."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def put(self, repository: Path, place: Path) -> None:
        """Git of ours cannot work on the worker's disks: it asks where it is."""
        shutil.copytree(repository, self.seen(place), symlinks=True)

    def taken(self, place: Path, to: Path) -> Path:
        """A copy of what stands at the worker's `place`."""
        return Path(shutil.copytree(self.seen(place), to, symlinks=True))

    def call(self, *command: str) -> None:
        """Where the worker is."""
        subprocess.run([*self._enter, *command], check=True)

    @property
    def _enter(self) -> Sequence[str]:
        target = ("--target", str(self._holder.pid))
        return ("nsenter", *target, "--user", "--mount", "--preserve-credentials")


def fill(folder: Path, leaving: int = 0) -> Path:
    """A file that takes the room there is, but for some bytes; removed, it gives it back."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    if leaving:
        os.truncate(filler, filler.stat().st_size - leaving)
    return filler


def shim(folder: Path, first: str) -> Mapping[str, str]:
    """The environment of a worker whose git is a script that does `first`, and then what it is."""
    git = shutil.which("git")
    script = folder / "shim" / "git"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\n{first}\nexec {git} "$@"\n')
    script.chmod(0o700)
    return {"PATH": f"{script.parent}:{os.environ['PATH']}"}


@asynccontextmanager
async def worker_on(
    client: Client,
    folder: Path,
    *,
    small: Sequence[Path] = (),
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[DiskHost]:
    """A worker process with state in `folder / "state"`; each of `small` is a disk of 4 MB."""
    state = folder / "state"
    for path in (state, *small):
        path.mkdir(parents=True, exist_ok=True)
    mounts = "".join(f"mount -t tmpfs -o size=4m none '{path}'; " for path in small)
    holder = subprocess.Popen(
        [*SPACE, "sh", "-ec", f"{mounts} echo mounted; exec sleep infinity"],
        stdout=subprocess.PIPE,
    )
    host = DiskHost(
        client,
        holder,
        {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_STATE_HOME": str(state),
            "BRANCHWORK_HOST": "test-host",
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            **(environ or {}),
        },
    )
    try:
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == b"mounted\n"
        host.start_worker()
        try:
            yield host
        finally:
            host.stop_worker()
    finally:
        holder.kill()
        holder.communicate()
