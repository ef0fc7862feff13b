"""Which agent does it, by the kind that the plan names."""

from collections.abc import Mapping

from activities.agents.base import Agent
from activities.agents.command import CommandAgent
from branchwork.plan import AgentSpec


def agent_for(spec: AgentSpec, environ: Mapping[str, str]) -> Agent:
    """Whoever `spec.use` names; `environ` is what the worker may hand on."""
    return CommandAgent(spec, environ)
