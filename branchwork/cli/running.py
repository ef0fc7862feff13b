"""`run`, `watch`, `cancel`, `pause`, `resume`, `merge`: commands that move runs."""

import asyncio
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from branchwork.addresses import is_url
from branchwork.cli.cancelling import cancel_run, cancel_step
from branchwork.cli.follow import INTERRUPTED, Watcher, Wish
from branchwork.cli.pools import still_unserved, told_unserved
from branchwork.cli.registry import add
from branchwork.cli.repository import Repository
from branchwork.cli.request import Options, prepare
from branchwork.cli.reusing import prepare_reusing
from branchwork.cli.session import Session, session
from branchwork.cli.view import summary
from branchwork.client import Branchwork
from branchwork.contract import RunRequest
from branchwork.errors import RefusedError
from branchwork.outcomes import Outcome, RunReport
from branchwork.requests import needed_labels

PlanArgument = Annotated[Path, typer.Argument(metavar="PLAN", help="The plan, a YAML file.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
AgentOption = Annotated[
    list[str],
    typer.Option(
        "--agent", metavar="NAME=COMMAND", help="Who NAME is in this run; '*' is everybody else."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with JSON.")]
DetachOption = Annotated[bool, typer.Option("--detach", help="Print the run's id and go.")]
IdOption = Annotated[str | None, typer.Option("--id", help="The run's id; default: new.")]


class Starting(NamedTuple):
    """How a run is started."""

    run: str | None
    """Its id; None for a new one."""
    detach: bool
    json: bool


def register(app: typer.Typer) -> None:
    for command, example in (
        (run, "branchwork run plan.yaml --agent 'coder=./agent.sh' --param level=3"),
        (watch, "branchwork watch shop-3k5w2q7a"),
        (cancel, "branchwork cancel shop-3k5w2q7a"),
        (pause, "branchwork pause shop-3k5w2q7a"),
        (resume, "branchwork resume shop-3k5w2q7a"),
        (merge, "branchwork merge shop-3k5w2q7a"),
    ):
        add(app, command, example)


def run(  # noqa: PLR0913  # the options of a command are its parameters
    plan: PlanArgument,
    *,
    detach: DetachOption = False,
    json: JsonOption = False,
    run_id: IdOption = None,
    base: Annotated[str | None, typer.Option(help="Branch, tag or commit to start from.")] = None,
    param: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="Override a parameter of the plan.")
    ] = [],  # noqa: B006  # read only
    agent: AgentOption = [],  # noqa: B006  # read only
    repository: Annotated[
        str | None,
        typer.Option(metavar="FOLDER|URL", help="The repository; default: the one around here."),
    ] = None,
    reuse: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Take over results of RUN where nothing changed."),
    ] = None,
) -> int:
    """Run a plan on this repository and show it live; the result branch is the answer."""
    here = session()
    options = Options(agent, param, base, repository)
    starting = Starting(run_id, detach=detach, json=json)
    return asyncio.run(_run(here, plan, options, reuse, starting))


def watch(run_id: RunArgument, *, json: JsonOption = False) -> int:
    """Show a run live until it ends."""
    here = session()
    return asyncio.run(_watch(here, run_id, json=json))


def cancel(
    run_id: RunArgument,
    step: Annotated[str | None, typer.Option(help="Only this step of it.")] = None,
) -> int:
    """End a run, or one step of it; what its agents have written is kept."""
    here = session()
    return asyncio.run(cancel_step(here, run_id, step) if step else cancel_run(here, run_id))


def pause(run_id: RunArgument) -> int:
    """Start no new attempts; those that run go on."""
    return asyncio.run(_pause(session(), run_id))


def resume(run_id: RunArgument) -> int:
    """Let a paused run go on."""
    return asyncio.run(_resume(session(), run_id))


def merge(
    run_id: RunArgument,
    *,
    partial: Annotated[bool, typer.Option(help="Also if the run did not succeed.")] = False,
) -> int:
    """Merge a run's branch into what is checked out here."""
    return asyncio.run(_merge(session(), run_id, partial=partial))


async def _run(
    here: Session, plan: Path, options: Options, reuse: str | None, starting: Starting
) -> int:
    prepared = (
        prepare(plan, options)
        if reuse is None
        else await prepare_reusing(here, plan, options, reuse)
    )
    here.output.say_all(map(str, prepared.loaded.warnings))
    if prepared.repository and (uncommitted := prepared.repository.uncommitted()):
        base = str(prepared.request.base)[:10]
        here.output.say(f"note: {uncommitted} uncommitted changes are not part of the base {base}")
    return await launch(here, await here.serving_client(), prepared.request, starting)


async def launch(here: Session, client: Branchwork, request: RunRequest, starting: Starting) -> int:
    """Start a run and, unless it shall be left to itself, show it until it ends."""
    started = await client.start(request, starting.run)
    missing = await still_unserved(client.client, needed_labels(request.plan))
    here.output.say_all(map(told_unserved, missing))
    if starting.detach:
        here.output.raw(started)
        return 0
    where = f" of {request.repository}" if is_url(request.repository) else ""
    here.output.say(f"run {started} on {str(request.base)[:10]}{where}")
    return await _follow(here, client, started, json=starting.json)


async def _watch(here: Session, run_id: str, *, json: bool) -> int:
    client = await here.client()
    return await _follow(here, client, run_id, json=json)


async def _follow(here: Session, client: Branchwork, run_id: str, *, json: bool) -> int:
    sight, wish = await Watcher(here, client, run_id).follow()
    if wish is Wish.DETACH:
        here.output.say(f"the run goes on: branchwork watch {run_id}, branchwork cancel {run_id}")
        return INTERRUPTED
    _tell_end(here, sight.report, json=json)
    if wish is Wish.CANCEL:
        return INTERRUPTED
    return 0 if sight.report.outcome is Outcome.SUCCEEDED else 1


def _tell_end(here: Session, report: RunReport, *, json: bool) -> None:
    here.output.say_all(summary(report))
    if link := here.link(report.run):
        here.output.say(f"  Temporal UI  {link}")
    if report.branch:
        here.output.say(f"  result       {report.branch} at {str(report.result)[:10]}")
    if report.outcome is not Outcome.SUCCEEDED:
        here.output.say(f"  go on        branchwork retry {report.run}")
    if json:
        here.answer_json(report.model_dump(mode="json"))
    elif report.branch:
        here.output.raw(report.branch)


async def _pause(here: Session, run_id: str) -> int:
    await (await here.client()).pause(run_id)
    here.output.say(f"{run_id} starts nothing new until `branchwork resume {run_id}`")
    return 0


async def _resume(here: Session, run_id: str) -> int:
    await (await here.client()).resume(run_id)
    here.output.say(f"{run_id} goes on")
    return 0


async def _merge(here: Session, run_id: str, *, partial: bool) -> int:
    client = await here.client()
    report = await client.report(run_id)
    if report.branch is None:
        raise RefusedError(f"run {run_id} has no result branch: {report.reason or report.status}")
    if report.outcome is not Outcome.SUCCEEDED and not partial:
        raise RefusedError(f"run {run_id} {report.outcome}; --partial merges what it has")
    repository = Repository.at(Path.cwd())
    repository.bring_branch(await client.repository(run_id), report.branch)
    here.output.say(repository.merge(report.branch, f"Merge {report.branch}"))
    return 0
