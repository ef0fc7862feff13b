"""What client, workflows and activities send each other: one frozen model a call."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field, JsonValue

from branchwork.addresses import RepositoryAddress
from branchwork.labels import Labels
from branchwork.models import Message, Written
from branchwork.outcomes import Outcome
from branchwork.plan import AgentSpec, Plan, Step

RUN_PLAN = "RunPlan"
"""Workflow type of a run."""
RESOLVE_BASE = "resolve_base"
RUN_STEP = "run_step"
LAND_RUN = "land_run"
IS_SERVED = "is_served"
"""Activity types."""
BASE_ACTIVITY = "base"
"""Id of the activity that resolves the base."""

WORKER_SHUTDOWN = "WorkerShutdown"
"""Type of the failure of a `run_step` whose worker stopped; its detail is the host's name."""
WORK_HELD = "WorkHeld"
"""Likewise where its agent has ended and the work cannot be published for now: it is there only."""

REPORT_QUERY = "report"
CANCEL_SIGNAL = "cancel"
CANCEL_STEP_UPDATE = "cancel_step"
PAUSE_UPDATE = "pause"
RESUME_UPDATE = "resume"
PLAN_MEMO = "plan"
REPOSITORY_MEMO = "repository"
REQUEST_MEMO = "request"
LABELS_MEMO = "runs_on"
OUTCOME_MEMO = "outcome"
STARTED_MEMO = "started_at"
REPORT_MEMO = "report"
"""Memos of a run. `request` is the SHA-256 of what was asked. The report is one where the run
was cancelled: Temporal keeps no result then. The start is one where a long history was continued
in a new one."""


class Reused(Written):
    """The result of a step that succeeded in another run: taken over, not made again."""

    step: str
    commit: str = Field(pattern=r"^\S+$")
    run: str
    """Whose attempts made it."""
    base: str | None = None
    """Commit that the attempt started from."""
    output: Mapping[str, JsonValue] | None = None


class RunRequest(Written):
    """Everything a run starts from."""

    # A repository's URL that is refused may hold a secret.
    model_config = ConfigDict(hide_input_in_errors=True)

    plan: Plan
    repository: RepositoryAddress
    """Absolute path of the repository on the worker's host, or a URL that any host can reach."""
    base: str | None = None
    """Commit to start from; None takes the plan's base, or else what is checked out."""
    params: Mapping[str, JsonValue] = {}
    """Override the plan's."""
    reuse: tuple[Reused, ...] = ()
    """Results that are there already. A step among them needs only steps among them."""


class Need(Message):
    """What a step that succeeded hands to its dependents."""

    step: str
    commit: str
    output: Mapping[str, Any] | None = None


class BaseRequest(Message):
    """For `resolve_base`."""

    run: str
    repository: str
    revision: str
    requires: tuple[tuple[str, str], ...] = ()
    """(step, path) that the base must hold."""
    creates: tuple[str, ...] = ()
    """Paths that steps write: none may lead out of the repository through a symlink."""
    reuse: tuple[Need, ...] = ()
    """Results taken over from other runs, without their outputs."""


class Base(Message):
    """The commit that a run starts from, pinned by a ref."""

    commit: str


class AttemptRequest(Message):
    """For `run_step`: one attempt of one step."""

    run: str
    repository: str
    step: Step
    agent: AgentSpec
    attempt: int
    """Counted by the workflow from 1."""
    turn: int = 1
    """Counts the workers that this attempt was handed to: a later one may publish over an
    earlier one, never the other way."""
    labels: Labels = ()
    """What a worker must have to take it."""
    base: str
    """The run's base; the attempt starts from it or from the merge of its needs."""
    needs: tuple[Need, ...] = ()
    """In plan order."""
    params: Mapping[str, JsonValue] = {}


class AttemptEnd(Message):
    """How one attempt ended: what `run_step` returns, a failed agent included."""

    outcome: Outcome
    reason: str | None = None
    again: bool = True
    """Whether another attempt could end better; False for what stays wrong, as a conflict does."""
    base: str | None = None
    result: str | None = None
    """Commit that keeps the work, whatever the outcome; the base if nothing changed."""
    started_at: datetime
    ended_at: datetime
    output: Mapping[str, Any] | None = None
    changed: tuple[str, ...] = ()
    kept: str | None = None
    """The attempt's ref where it keeps work that is not on the step's own ref."""


AGENT_PHASE = "agent"
"""Of `Pulse`, while the agent works."""


class Pulse(Message):
    """Heartbeat details of `run_step`."""

    host: str
    phase: str
    """queued (for a slot of the host), worktree, agent, keeping or removing."""
    line: str = ""
    """The last line that the agent printed, cut to 200 characters."""
    started_at: datetime | None = None
    """When the agent was started, by whichever worker; None before that."""
    session: str | None = None
    """What the agent goes by on that host: a process, or a session of its own."""
    job: str | None = None
    """Its id at the provider, if it works elsewhere."""


class HostRequest(Message):
    """For `is_served`."""

    host: str


class LandRequest(Message):
    """For `land_run`: merge what the leaves hold onto the run's branch."""

    run: str
    repository: str
    base: str
    leaves: tuple[Need, ...]


class Landing(Message):
    """The branch that holds a run's work."""

    commit: str
    branch: str


class StepCancel(Message):
    """For the `cancel_step` update."""

    step: str
    reason: str = "cancelled by request"


class CancelRequest(Message):
    """For the `cancel` signal."""

    reason: str = "cancelled by request"


class Asked(Message):
    """For the updates and queries that ask for nothing more than themselves."""
