"""What Branchwork asks of an agent, and how the agent answers."""

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """One attempt of one step."""

    step: str
    prompt: str
    creates: tuple[Path, ...]
    """Paths to leave behind, from the top of the worktree, which is where the agent stands."""
    params: dict[str, Any]
    needs: dict[str, Any]
    """What the agents of the steps before answered, by step."""
    output: Path

    def answer(self, **output: Any) -> None:
        """For the report of the run, and for the steps that come after."""
        self.output.write_text(json.dumps(output), encoding="utf-8")


def read_asked() -> Asked:
    environ = os.environ
    return Asked(
        step=environ["BRANCHWORK_STEP"],
        prompt=sys.stdin.read().strip(),
        creates=tuple(map(Path, environ["BRANCHWORK_CREATES"].splitlines())),
        params=_json(environ["BRANCHWORK_PARAMS"]),
        needs=_json(environ["BRANCHWORK_NEEDS"]),
        output=Path(environ["BRANCHWORK_OUTPUT"]),
    )


def say(line: str) -> None:
    """Flushed, so that whoever watches the run reads it now."""
    print(line, flush=True)


def write_report(path: Path, report: dict[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _json(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content
