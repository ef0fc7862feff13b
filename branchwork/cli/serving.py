"""`up`, `down`, `worker`, `doctor`: commands about the server and the worker."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from branchwork.cli.doctor import diagnose
from branchwork.cli.embedded import server_state
from branchwork.cli.processes import become_worker
from branchwork.cli.registry import add
from branchwork.cli.running import JsonOption
from branchwork.cli.session import Session, session
from branchwork.cli.stopping import stop
from branchwork.errors import RefusedError
from branchwork.labels import bad_labels

_SIGNS = {"ok": "✓", "warning": "!", "error": "✗"}


def register(app: typer.Typer) -> None:
    for command, example in (
        (up, "branchwork up"),
        (down, "branchwork down"),
        (worker, "TEMPORAL_ADDRESS=temporal.internal:7233 branchwork worker --slots 4 --label gpu"),
        (doctor, "branchwork doctor"),
    ):
        add(app, command, example)


def up(*, json: JsonOption = False) -> int:
    """Start the embedded Temporal server and a worker, if they are missing."""
    return asyncio.run(_up(session(), json=json))


def down(
    *,
    agents: Annotated[
        bool, typer.Option("--agents", help="End agents that run, too; their work is kept.")
    ] = False,
) -> int:
    """Stop the embedded server and worker; runs under way go on after the next `up`."""
    return asyncio.run(stop(session(), agents=agents))


def worker(
    slots: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Attempts it runs at once.")
    ] = None,
    label: Annotated[
        list[str], typer.Option(help="Serve also the steps that run on this label; repeatable.")
    ] = [],  # noqa: B006  # read only
    deployment: Annotated[
        str | None, typer.Option(help="With --build: runs stay on the build they began on.")
    ] = None,
    build: Annotated[str | None, typer.Option(help="Which code this worker runs.")] = None,
) -> int:
    """Serve runs in the foreground, until it is told to stop."""
    if wrong := bad_labels(label):
        raise RefusedError(wrong)
    if (deployment is None) is not (build is None):
        raise RefusedError("--deployment and --build go together; give both")
    settings = session().settings
    embedded = None if settings.configured else server_state(settings)
    # It may have had to take another port than the one it is looked for at.
    changes = {
        "TEMPORAL_ADDRESS": embedded.address if embedded else None,
        "BRANCHWORK_DEPLOYMENT": deployment,
        "BRANCHWORK_BUILD_ID": build,
    }
    become_worker(slots, label, {name: value for name, value in changes.items() if value})


def doctor(*, json: JsonOption = False) -> int:
    """Say what is ready, what is not, and what to do about it."""
    return asyncio.run(_doctor(session(), json=json))


async def _up(here: Session, *, json: bool) -> int:
    connection = await here.serve()
    if json:
        here.answer_json({"address": connection.address, "ui": connection.ui})
    else:
        here.output.say(f"server {connection.address}, UI {connection.ui or 'unknown'}")
    return 0


async def _doctor(here: Session, *, json: bool) -> int:
    findings = await diagnose(here.settings, Path.cwd())
    if json:
        here.answer_json([finding.model_dump(mode="json") for finding in findings])
    else:
        for finding in findings:
            following = f" → {finding.next}" if finding.next else ""
            sign = _SIGNS[finding.level]
            here.output.answer(f"{sign} {finding.name}: {finding.text}{following}")
    return 1 if any(finding.level == "error" for finding in findings) else 0
