"""`retry`: a run that ended goes on from where it failed."""

import asyncio
from typing import Annotated

import typer

from branchwork.cli.registry import add
from branchwork.cli.running import (
    DetachOption,
    IdOption,
    JsonOption,
    RunArgument,
    Starting,
    launch,
)
from branchwork.cli.session import Session, session
from branchwork.reuse import retried


def register(app: typer.Typer) -> None:
    add(app, retry, "branchwork retry shop-3k5w2q7a auth-refactor")


def retry(
    run_id: RunArgument,
    steps: Annotated[
        list[str], typer.Argument(metavar="STEP", help="Run again too, with what depends on it.")
    ] = [],  # noqa: B006  # read only
    *,
    detach: DetachOption = False,
    json: JsonOption = False,
    new_id: IdOption = None,
) -> int:
    """Run again what did not succeed, as a new run that takes over the rest."""
    return asyncio.run(_retry(session(), run_id, steps, Starting(new_id, detach=detach, json=json)))


async def _retry(here: Session, run: str, steps: list[str], starting: Starting) -> int:
    client = await here.serving_client()
    again = retried(await client.past(run), steps)
    here.output.say_all(again.sentences(run))
    return await launch(here, client, again.request, starting)
