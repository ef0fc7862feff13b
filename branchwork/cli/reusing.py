"""A plan for a run that takes over results of one before it."""

from pathlib import Path

from branchwork.cli.request import Options, Prepared, prepare
from branchwork.cli.session import Session
from branchwork.plan_file import load_plan
from branchwork.reuse import reusing


async def prepare_reusing(here: Session, file: Path, options: Options, run: str) -> Prepared:
    """As `prepare`, and says which steps run again, and why.

    What names no base starts from that of `run`, and says so if HEAD is elsewhere.
    """
    plan = load_plan(file).plan
    past = await (await here.serving_client()).past(run)
    inherits = options.base is None and plan.base is None
    if inherits:
        options = options._replace(base=past.report.base)
    prepared = prepare(file, options)
    clone = prepared.repository
    if inherits and clone and (head := clone.commit("HEAD")) != prepared.request.base:
        here.output.say(
            f"note: starts from {str(prepared.request.base)[:10]} as {run} did; HEAD is"
            f" {head[:10]}: `--base HEAD` starts from there, and runs every step again"
        )
    again = reusing(past, prepared.request)
    here.output.say_all(again.sentences(run))
    return prepared._replace(request=again.request)
