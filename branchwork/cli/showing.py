"""`show`: what is known of a step, and how to get at its work."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from branchwork.addresses import is_url
from branchwork.cli.processes import GitRefusedError, run_git
from branchwork.cli.registry import add
from branchwork.cli.running import JsonOption, RunArgument
from branchwork.cli.session import Session, session
from branchwork.cli.view import clock, harmless
from branchwork.client import Branchwork
from branchwork.errors import RefusedError, WorkerSilentError
from branchwork.histories import rebuilt_report, told_by
from branchwork.names import attempt_refs, step_ref
from branchwork.outcomes import RunReport, StepReport
from branchwork.problems import nearest
from branchwork.works import Work, chosen_attempt, needs_history, work_of


def register(app: typer.Typer) -> None:
    add(app, show, "branchwork show shop-3k5w2q7a auth-refactor --attempt 1")


def show(
    run_id: RunArgument,
    step: Annotated[str, typer.Argument(metavar="STEP", help="The step's id.")],
    *,
    attempt: Annotated[int | None, typer.Option(min=1, help="Default: the last.")] = None,
    json: JsonOption = False,
) -> int:
    """Say how an attempt of a step ended, where its work is, and how to get at it."""
    return asyncio.run(_show(session(), run_id, step, attempt, json=json))


async def _show(here: Session, run: str, step: str, wanted: int | None, *, json: bool) -> int:
    client = await here.client()
    report = await _step(client, run, step)
    attempt = chosen_attempt(run, report, wanted)
    repository = await client.repository(run) or ""
    ends = (await told_by(client.client, run)).ends if needs_history(report, attempt) else {}
    work = work_of(run, report, attempt, ends.get((step, attempt)), _refs(repository, run, step))
    places = {"log": here.state.log(run, step, attempt), "worktree": _worktree(here, work)}
    found = {name: str(place) for name, place in places.items() if place and place.exists()}
    commands = list(_commands(work, repository))
    if json:
        paths = {name: found.get(name) for name in places}
        here.answer_json({**work.model_dump(mode="json"), **paths, "commands": commands})
    else:
        here.output.answer(_drawn(work, found, repository, commands))
    return 0


def _worktree(here: Session, work: Work) -> Path | None:
    """Where the attempt works, as long as it does."""
    is_current = work.status is not None and work.attempt == work.attempts
    return here.state.worktree(work.run, work.step) if is_current else None


async def _step(client: Branchwork, run: str, step: str) -> StepReport:
    report = await _report(client, run)
    for found in report.steps:
        if found.step == step:
            return found
    known = nearest(step, [found.step for found in report.steps])
    raise RefusedError(f"run {run} has no step {step!r}{known}; see `branchwork status {run}`")


async def _report(client: Branchwork, run: str) -> RunReport:
    try:
        return await client.report(run)
    except WorkerSilentError:
        return await rebuilt_report(client.client, await client.describe(run))


def _refs(repository: str, run: str, step: str) -> Mapping[str, str] | None:
    """The step's, from wherever the run keeps them; None if that cannot be read from here."""
    ours = (step_ref(run, step), attempt_refs(run, step))
    try:
        if not is_url(repository):
            listed = run_git(
                Path(repository), "for-each-ref", "--format=%(objectname)\t%(refname)", "--", *ours
            )
        else:
            listed = run_git(Path.cwd(), "ls-remote", "--", repository, ours[0], f"{ours[1]}/*")
    except (GitRefusedError, OSError):
        return None
    lines = (line.split("\t") for line in listed.splitlines())
    return {ref: commit for commit, ref in lines}


def _commands(work: Work, repository: str) -> Iterator[str]:
    """What gets at the work."""
    if work.ref is None:
        return
    if is_url(repository):
        yield f"git fetch {repository} {work.ref}:{work.ref}"
    yield f"git diff {work.base}..{work.ref}" if work.base else f"git show {work.ref}"
    yield f"git branch NAME {work.ref}"
    yield f"git checkout {work.ref} -- PATH"


def _drawn(work: Work, found: Mapping[str, str], repository: str, commands: list[str]) -> Text:
    text = Text()
    for name, value in _lines(work, found):
        text.append(f"{name:<9}", "dim")
        text.append(f"{value}\n")
    if commands:
        text.append(f"\nin {'a clone' if is_url(repository) else repository}:\n", "dim")
        text.append("".join(f"  {command}\n" for command in commands))
    text.rstrip()
    return text


def _lines(work: Work, found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "step", f"{work.step} of {work.run} ({harmless(work.agent)})"
    if work.reused:
        yield "attempt", f"none: taken over from {work.reused}"
    elif work.attempt:
        yield "attempt", f"{work.attempt} of {work.attempts}"
    yield "outcome", str(work.outcome or work.status or "unknown").replace("_", " ")
    if work.reason:
        yield "reason", harmless(work.reason).replace("\n", "\n" + " " * 9)
    if work.started_at and work.ended_at:
        yield "took", clock(work.ended_at - work.started_at)
    for name, commit in (("base", work.base), ("result", work.result)):
        if commit:
            yield name, commit
    yield "ref", work.ref or f"none: {work.why_no_ref}"
    for beside in work.refs_beside:
        yield "beside", beside
    if "worktree" in found:
        yield "worktree", found["worktree"]
    yield "log", found.get("log") or _where_log(work)


def _where_log(work: Work) -> str:
    if work.reused:
        return f"see `branchwork show {work.reused} {work.step}`"
    if not work.attempt:
        return "none"
    return "not on this host; it lies where the attempt ran"
