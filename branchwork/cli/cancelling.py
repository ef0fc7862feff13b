"""`cancel`: end a run or one step of it, and say what was kept and where."""

from functools import partial
from uuid import uuid4

from branchwork.cli.follow import INTERRUPTED, interrupts, until
from branchwork.cli.losses import while_cancelling
from branchwork.cli.session import Session
from branchwork.cli.view import ended, summary
from branchwork.client import Branchwork
from branchwork.errors import RefusedError
from branchwork.following import Follower
from branchwork.outcomes import RunReport, StepReport
from branchwork.progress import verb
from branchwork.sights import Sight


async def cancel_run(here: Session, run: str) -> int:
    """Returns when nothing of the run goes on any more; Ctrl-C leaves it to itself."""
    client = await here.client()
    if await client.is_over(run):
        raise RefusedError(f"run {run} has ended; see `branchwork status {run}`")
    follower = here.follower(client, run)
    follower.ask(partial(Branchwork.cancel, run=run))
    report = await _until_ended(here, follower, None)
    if report.outcome is None:
        return _left(here, follower, run)
    here.output.say_all(summary(report))
    return 0


async def cancel_step(here: Session, run: str, step: str) -> int:
    """The same for one step; the run goes on."""
    client = await here.client()
    follower = here.follower(client, run)
    follower.ask(partial(Branchwork.ask_cancel_step, run=run, step=step, ask=str(uuid4())))
    found = _step_of(await _until_ended(here, follower, step), step)
    if found is None or found.outcome is None:
        return _left(here, follower, run)
    if found.attempts:
        here.output.say_all(ended(found, run))
    else:
        here.output.say(f"{step} {verb(found.outcome)} before it began")
    return 0


async def _until_ended(here: Session, follower: Follower, step: str | None) -> RunReport:
    """The last report that was seen: with the step's end, or the run's, unless Ctrl-C came."""
    before: Sight | None = None
    async with interrupts() as found:
        async for sight in until(follower, found.first):
            if step and sight.report.steps:
                # Later it may have ended because it was asked to.
                _require(sight.report, step, under_way=before is None)
            here.output.say_all(while_cancelling(before, sight, here.remedy))
            before = sight
            of_step = _step_of(sight.report, step)
            if of_step and of_step.outcome:
                break
    if before is None:
        raise AssertionError("a run was followed and never seen")
    return before.report


def _left(here: Session, follower: Follower, run: str) -> int:
    if follower.has_asked:
        here.output.say(f"it ends by itself: branchwork watch {run}")
    else:
        here.output.say(f"{run} has not been reached; cancel again when `branchwork up` was there")
    return INTERRUPTED


def _require(report: RunReport, step: str, *, under_way: bool) -> None:
    found = _step_of(report, step)
    if found is None:
        raise RefusedError(f"run {report.run} has no step {step!r}")
    if found.outcome and under_way:
        raise RefusedError(f"step {step!r} has ended: it {verb(found.outcome)}")


def _step_of(report: RunReport, step: str | None) -> StepReport | None:
    return next((found for found in report.steps if found.step == step), None)
