"""`gc`: what is left over, listed or removed."""

from typing import Annotated

import typer

from branchwork.cli.processes import become_gc
from branchwork.cli.registry import add
from branchwork.cli.running import JsonOption
from branchwork.durations import parse_duration
from branchwork.errors import RefusedError


def register(app: typer.Typer) -> None:
    add(app, gc, "branchwork gc --older-than 7d --yes")


def gc(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; else it is only listed.")] = False,
    older_than: Annotated[
        str,
        typer.Option(metavar="TIME", help="How long refs and records of ended runs stay."),
    ] = "30d",
    json: JsonOption = False,
) -> int:
    """List what runs left over on this host and in its repositories, or remove it.

    Work that is on no ref is put on one first. What belongs to a run under way, or may
    belong to another server's, is left alone; so are result branches.
    """
    try:
        parse_duration(older_than)
    except ValueError as error:
        raise RefusedError(f"--older-than: {error}") from error
    options = [name for name, wanted in (("--yes", yes), ("--json", json)) if wanted]
    become_gc(*options, "--older-than", older_than)
