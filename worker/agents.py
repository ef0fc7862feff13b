"""`python -m worker.agents`: what `branchwork down` says, and ends, of agents without a worker."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence

from activities.blocking import Blocking
from activities.ending import Ended, LeftAgents
from activities.git_faults import GitError
from activities.leftovers import Left
from activities.taking_away import UnreadableError
from branchwork.cli.leaving import leave
from branchwork.cli.output import Output
from branchwork.names import StateFolder
from branchwork.settings import Settings
from worker.environment import environment

_THREADS = 16


def main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m worker.agents", description=__doc__)
    parser.add_argument("--end", action="store_true")
    leave(asyncio.run(_agents(environment(), ends=parser.parse_args().end)))


async def _agents(environ: Mapping[str, str], *, ends: bool) -> int:
    settings = Settings.from_environment(environ)
    blocking = Blocking(_THREADS)
    agents = LeftAgents(StateFolder(settings.state), settings.host, environ, blocking)
    found = await agents.running()
    try:
        return await _end(agents, found) if ends else _tell(found)
    finally:
        blocking.close()


def _tell(found: Sequence[Left]) -> int:
    if found:
        count = "1 agent goes" if len(found) == 1 else f"{len(found)} agents go"
        Output().say(
            f"{count} on running without a worker; `branchwork up` takes them up again,"
            " `branchwork down --agents` ends them and keeps their work"
        )
    return 0


async def _end(agents: LeftAgents, found: Sequence[Left]) -> int:
    """All at once: those that do not care for TERM take five seconds each."""
    ended = await asyncio.gather(*map(agents.end, found), return_exceptions=True)
    for left, end in zip(found, ended, strict=True):
        Output().say(f"agent of {left.step} of {left.run}: {_sentence(end)}")
    return 1 if any(isinstance(end, BaseException) for end in ended) else 0


def _sentence(end: Ended | BaseException) -> str:
    if isinstance(end, GitError | OSError | UnreadableError):
        return f"ended, its worktree is left where it is: {end}"
    if isinstance(end, BaseException):
        raise end
    if not end.taken.worktree:
        return "ended" if end.taken.processes else "left to the worker that serves it"
    return f"ended, its work is kept on {end.taken.ref}" if end.taken.ref else "ended"


if __name__ == "__main__":
    main()
