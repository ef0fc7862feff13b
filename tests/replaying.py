"""Replay histories in this process: `python tests/replaying.py FILE...`, exit 1 if one differs."""

import asyncio
import sys
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from branchwork.cli.leaving import leave
from worker.sandbox import sandboxed
from workflows.run_plan import RunPlan


async def replay(files: list[Path]) -> int:
    replayer = Replayer(
        workflows=[RunPlan],
        workflow_runner=sandboxed(),
        data_converter=pydantic_data_converter,
    )
    wrong = 0
    for file in files:
        history = WorkflowHistory.from_json(file.stem, file.read_text())
        result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        if result.replay_failure:
            sys.stderr.write(f"{file.name}: {result.replay_failure}\n")
            wrong = 1
    return wrong


if __name__ == "__main__":
    leave(asyncio.run(replay([Path(name) for name in sys.argv[1:]])))
