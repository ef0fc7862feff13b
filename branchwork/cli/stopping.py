"""`down`: stop what `up` or `run` started, and say what goes on and what waits."""

import asyncio
from functools import partial

from temporalio.service import RPCError

from branchwork.cli.connection import runs_under_way
from branchwork.cli.embedded import server_state, stop_all
from branchwork.cli.embedded_server import EmbeddedServer
from branchwork.cli.processes import run_agents
from branchwork.cli.session import Session

_ANSWER_SECONDS = 4


async def stop(here: Session, *, agents: bool) -> int:
    """`agents`: end them too, which else go on without a worker."""
    runs = await _runs_under_way(here)
    code = await stop_all(
        here.settings, here.output.say, partial(run_agents, *(["--end"] if agents else []))
    )
    if runs:
        count = "1 run is under way and goes" if runs == 1 else f"{runs} runs are under way and go"
        here.output.say(f"{count} on after `branchwork up`")
    return code


async def _runs_under_way(here: Session) -> int | None:
    """None if the server that is to be stopped does not tell."""
    if server_state(here.settings) is None:
        return None
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            found = await EmbeddedServer(here.settings).answering()
            return await runs_under_way(found.client) if found else None
    except (RPCError, TimeoutError):
        return None
