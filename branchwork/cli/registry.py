"""How commands join the command line."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import typer


def add(
    app: typer.Typer, command: Callable[..., int], example: str, name: str | None = None
) -> None:
    """`command` returns its exit code; `example` ends its help."""

    @wraps(command)
    def exiting(*args: Any, **kwargs: Any) -> None:
        raise typer.Exit(command(*args, **kwargs))

    app.command(name, epilog=f"Example: {example}")(exiting)
