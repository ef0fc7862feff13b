"""What a repository says of its agents, in `branchwork.yaml`, and the command line of them."""

from pathlib import Path

from pydantic import Field, ValidationError

from branchwork.findings import PlanFileError, read_source
from branchwork.models import Written
from branchwork.sentences import validated
from branchwork.steps import Agents, AgentSpec

PROJECT_FILE = "branchwork.yaml"


class ProjectFile(Written):
    """`branchwork.yaml` in a repository's top folder."""

    agents: Agents = Field(default_factory=dict)
    """Agents by name, or just the command of one; `*` stands for every name not listed."""


def load_project(folder: Path) -> ProjectFile:
    """An empty one if `folder` has no such file. Raises PlanFileError as `load_plan` does."""
    path = folder / PROJECT_FILE
    # A link that leads nowhere is a mistake to be told, not a file that is not there.
    if not path.exists() and not path.is_symlink():
        return ProjectFile()
    source = read_source(path)
    return ProjectFile() if source.value() is None else validated(source, ProjectFile)


def parse_agent_option(option: str) -> tuple[str, AgentSpec]:
    """`NAME=COMMAND`, as `--agent` takes it. Raises ValueError with a sentence."""
    name, equals, command = option.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ValueError(f"{option!r} maps no agent; write NAME=COMMAND, or '*=COMMAND' for all")
    if not command.strip():
        raise ValueError(f"{option!r} has no command; write {name}=COMMAND")
    try:
        return name, AgentSpec(run=command)
    except ValidationError as error:
        raise ValueError(
            f"{option!r} is no command: {error.errors()[0]['ctx']['error']}"
        ) from error


__all__ = ["PROJECT_FILE", "PlanFileError", "ProjectFile", "load_project", "parse_agent_option"]
