"""`status`, `list`, `logs`, `diff`, `check`: commands that look."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from branchwork.cli.logs import show_log
from branchwork.cli.registry import add
from branchwork.cli.repository import Repository
from branchwork.cli.request import base_problems, with_agents
from branchwork.cli.running import AgentOption, JsonOption, RunArgument
from branchwork.cli.session import Session, session
from branchwork.cli.view import clock, standing, step_table, summary, utc_now
from branchwork.errors import RefusedError
from branchwork.findings import PlanFileError
from branchwork.outcomes import RunReport
from branchwork.plan import Plan
from branchwork.plan_file import load_plan, plan_schema
from branchwork.sights import RunLine

StepArgument = Annotated[str, typer.Argument(metavar="STEP", help="The step's id.")]


def register(app: typer.Typer) -> None:
    for command, example in (
        (status, "branchwork status shop-3k5w2q7a --json"),
        (list_runs, "branchwork list"),
        (logs, "branchwork logs shop-3k5w2q7a auth-refactor -f"),
        (diff, "branchwork diff shop-3k5w2q7a auth-refactor --stat"),
        (check, "branchwork check plan.yaml"),
    ):
        add(app, command, example, "list" if command is list_runs else None)


def status(run_id: RunArgument, *, json: JsonOption = False) -> int:
    """How a run stands or ended, step by step."""
    return asyncio.run(_status(session(), run_id, json=json))


def list_runs(
    *,
    json: JsonOption = False,
    most: Annotated[int, typer.Option("-n", min=1, max=1000, help="At most so many.")] = 20,
) -> int:
    """The runs, the newest first."""
    return asyncio.run(_list(session(), most, json=json))


def logs(
    run_id: RunArgument,
    step: StepArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Default: the last.")] = None,
) -> int:
    """What a step's agent printed, on this host."""
    here = session()
    return asyncio.run(show_log(here, run_id, step, attempt, follow=follow))


def diff(
    run_id: RunArgument,
    step: Annotated[str | None, typer.Argument(metavar="[STEP]", help="Only this step.")] = None,
    *,
    stat: Annotated[bool, typer.Option(help="Only which files, and how much.")] = False,
) -> int:
    """What a run, or one step of it, changed."""
    return asyncio.run(_diff(session(), run_id, step, ["--stat"] if stat else []))


def check(
    plan: Annotated[
        Path | None, typer.Argument(metavar="[PLAN]", help="The plan, a YAML file.")
    ] = None,
    *,
    json: JsonOption = False,
    schema: Annotated[bool, typer.Option(help="Print the JSON Schema of plans.")] = False,
    agent: AgentOption = [],  # noqa: B006  # read only
) -> int:
    """Say what is wrong with a plan, or print its graph by levels; nothing is run."""
    here = session()
    if schema:
        here.answer_json(plan_schema())
        return 0
    if plan is None:
        raise typer.BadParameter("name a plan, or ask for --schema")
    return _check(here, plan, agent, json=json)


async def _status(here: Session, run_id: str, *, json: bool) -> int:
    report = await (await here.client()).report(run_id)
    if json:
        here.answer_json(report.model_dump(mode="json"))
        return 0
    here.output.answer(step_table(report, utc_now()))
    if report.outcome:
        here.output.say_all(summary(report))
    else:
        here.output.say(f"{run_id} {standing(report)}")
    if link := here.link(run_id):
        here.output.say(f"  Temporal UI  {link}")
    return 0


async def _list(here: Session, most: int, *, json: bool) -> int:
    runs = await (await here.client()).runs(most)
    if json:
        here.answer_json([line.model_dump(mode="json") for line in runs])
    elif runs:
        here.output.answer(_run_table(runs))
    else:
        here.output.say("no runs yet; start one with `branchwork run plan.yaml`")
    return 0


def _run_table(runs: list[RunLine]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("run", "outcome", "started", "took", "repository"):
        table.add_column(name, overflow="fold")
    for line in runs:
        took = (line.ended_at or utc_now()) - line.started_at
        table.add_row(
            line.run,
            Text(str(line.outcome or "running").replace("_", " ")),
            line.started_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            clock(took),
            Text(line.repository or ""),
        )
    return table


async def _diff(here: Session, run_id: str, step: str | None, options: list[str]) -> int:
    client = await here.client()
    report = await client.report(run_id)
    base, result = _ends(report, step)
    repository = Repository.at(Path.cwd())
    repository.bring(await client.repository(run_id), run_id, report)
    return repository.show_diff(base, result, options)


def _ends(report: RunReport, step: str | None) -> tuple[str, str]:
    """The two commits whose difference is the work; raises RefusedError if there is none."""
    if step is None:
        if report.base is None or report.result is None:
            why = report.reason or "it has not ended"
            raise RefusedError(f"run {report.run} has no result: {why}; name a step instead")
        return report.base, report.result
    found = next((entry for entry in report.steps if entry.step == step), None)
    if found is None:
        raise RefusedError(f"run {report.run} has no step {step!r}")
    if found.base is None or found.result is None:
        raise RefusedError(f"step {step!r} has no work: {found.reason or found.status}")
    return found.base, found.result


def _check(here: Session, file: Path, agents: list[str], *, json: bool) -> int:
    loaded = load_plan(file)
    repository = Repository.around(Path.cwd())
    plan = with_agents(loaded.plan, agents, repository.top if repository else None)
    if repository:
        base = repository.commit(plan.base or "HEAD")
        if problems := base_problems(plan, repository, base):
            raise PlanFileError(loaded.source.findings(problems))
    notes = [problem.text for problem in plan.undefined_agents()]
    here.output.say_all([*map(str, loaded.warnings), *(f"note: {note}" for note in notes)])
    if json:
        here.answer_json(_graph_json(plan, [*map(str, loaded.warnings), *notes]))
    else:
        here.output.answer(_levels(plan))
    return 0


def _graph_json(plan: Plan, warnings: list[str]) -> dict[str, object]:
    return {
        "plan": plan.plan,
        "levels": [list(level) for level in plan.graph.levels],
        "needs": {step: list(needs) for step, needs in plan.graph.needs.items()},
        "warnings": warnings,
    }


def _levels(plan: Plan) -> Text:
    levels, steps = plan.graph.levels, len(plan.steps)
    head = f"{plan.plan}: {steps} steps, {len(levels)} levels, {plan.max_parallel} at once\n"
    text = Text(head, "bold")
    for number, level in enumerate(levels, 1):
        text.append(f"\nlevel {number}\n", "dim")
        for step in level:
            needs = plan.graph.needs[step]
            text.append(f"  {step}", "")
            text.append(f"  {plan.by_id[step].agent_name}", "dim")
            if labels := plan.labels_of(plan.by_id[step]):
                text.append(f"  on {', '.join(labels)}", "dim")
            text.append(f"  ← {', '.join(needs)}\n" if needs else "\n", "dim")
    text.rstrip()
    return text
