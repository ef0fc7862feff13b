"""An agent that failed because its disk is full has not failed at its work."""

from dataclasses import replace
from pathlib import Path

from activities.agents.base import AgentEnd
from activities.git_faults import disk_fault, refusal


def blamed_on_disk(agent_end: AgentEnd, worktree: Path) -> AgentEnd:
    """`agent_end`, as one that passes if nothing can be written in `worktree` by now. Blocking."""
    if agent_end.ok or agent_end.timed_out or agent_end.transient:
        return agent_end
    error = refusal(worktree)
    if error is None:
        return agent_end
    fault = disk_fault(f"the agent failed on a disk that takes nothing: {error.strerror}", error)
    if not fault.transient:
        return agent_end
    return replace(agent_end, name=fault.name, text=f"{fault}\n{agent_end.text}", transient=True)
