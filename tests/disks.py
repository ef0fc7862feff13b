"""A worker process on disks of its own: small ones, and ones it may not write to.

They are mounted in a namespace of that process, so that nothing is left when it ends.
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
from typing import Any

import pytest
from temporalio.client import Client

from branchwork.names import StateFolder
from workers import Host

CHECKOUT = Path(__file__).parent.parent
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

    def __init__(self, client: Client, process: "subprocess.Popen[bytes]", state: Path) -> None:
        self.process = process
        super().__init__(client, StateFolder(self.seen(state)))

    def seen(self, path: Path) -> Path:
        """`path` of the worker, as it can be reached from here."""
        return Path(f"/proc/{self.process.pid}/root{path}")

    def put(self, repository: Path, place: Path) -> None:
        """Git of ours cannot work on the worker's disks: it asks where it is."""
        shutil.copytree(repository, self.seen(place), symlinks=True)

    def taken(self, place: Path, to: Path) -> Path:
        """A copy of what stands at the worker's `place`."""
        return Path(shutil.copytree(self.seen(place), to, symlinks=True))

    def mount(self, *arguments: str | Path) -> None:
        enter = ("nsenter", "--target", str(self.process.pid), "--user", "--mount")
        subprocess.run([*enter, "--preserve-credentials", "mount", *arguments], check=True)


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
    megabytes: int = 4,
    environ: Mapping[str, str] | None = None,
    **popen: Any,
) -> AsyncIterator[DiskHost]:
    """A worker process with state in `folder / "state"`; each of `small` is a disk of its own."""
    state = folder / "state"
    for path in (state, *small):
        path.mkdir(parents=True, exist_ok=True)
    mounts = "".join(f"mount -t tmpfs -o size={megabytes}m none '{path}'; " for path in small)
    process = subprocess.Popen(
        [
            *SPACE,
            "sh",
            "-ec",
            f"{mounts} exec {sys.executable} -m worker --slots 4 2>>{folder / 'worker.log'}",
        ],
        cwd=CHECKOUT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_STATE_HOME": str(state),
            "BRANCHWORK_HOST": "test-host",
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            **(environ or {}),
        },
        **popen,
    )
    try:
        await _mounted(process, small)
        yield DiskHost(client, process, state / "branchwork")
    finally:
        process.terminate()
        process.wait(60)


async def _mounted(process: "subprocess.Popen[bytes]", paths: Sequence[Path]) -> None:
    mounts = Path(f"/proc/{process.pid}/mountinfo")
    for _ in range(200):
        seen = mounts.read_text()
        if (
            all(str(path) in seen for path in paths)
            and "python" in Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")[0]
        ):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the disks were not mounted")
