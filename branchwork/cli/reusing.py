"""A plan for a run that takes over results of one before it."""

from pathlib import Path

from branchwork.addresses import is_url
from branchwork.cli.repository import Repository
from branchwork.cli.request import Options, Prepared, prepare
from branchwork.cli.session import Session
from branchwork.errors import RefusedError
from branchwork.plan_file import load_plan
from branchwork.reuse import Past, reusing


async def prepare_reusing(here: Session, file: Path, options: Options, run: str) -> Prepared:
    """As `prepare`, and says which steps run again, and why.

    What names no base starts from that of `run`, and says so if HEAD is elsewhere.
    """
    plan = load_plan(file).plan
    past = await (await here.serving_client()).past(run)
    inherits = options.base is None and plan.base is None
    base = past.report.base if inherits else options.base
    repository = options.repository or _repository_of(past)
    prepared = prepare(file, options._replace(base=base, repository=repository))
    clone = prepared.repository
    if inherits and clone and (head := clone.commit("HEAD")) != prepared.request.base:
        here.output.say(
            f"note: starts from {str(prepared.request.base)[:10]} as {run} did; HEAD is"
            f" {head[:10]}: `--base HEAD` starts from there, and runs every step again"
        )
    again = reusing(past, prepared.request)
    here.output.say_all(again.sentences(run))
    return prepared._replace(request=again.request)


def _repository_of(past: Past) -> str:
    """Raises RefusedError where a folder's results would be sought in another one."""
    theirs = past.request.repository
    if is_url(theirs):
        return theirs
    around = Repository.around(Path.cwd())
    if around is None or str(around.top) != theirs:
        raise RefusedError(
            f"run {past.report.run} is of {theirs}, and you are elsewhere; go there, or say"
            f" `--repository {theirs}`"
        )
    return theirs
