"""Start a run with nothing but temporalio and our models: `start_run.py REPOSITORY [ADDRESS]`.

A server and a worker must be there; `branchwork up` starts both.
"""

import asyncio
import os
import sys
from pathlib import Path

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from branchwork.contract import RUN_PLAN, RunRequest
from branchwork.names import RUN_QUEUE, new_run_id
from branchwork.outcomes import RunReport
from branchwork.plan import Plan, Step


async def main(repository: Path, address: str = "127.0.0.1:7233") -> None:
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    greet = Step(id="greet", run="echo Hello > hello.txt", creates=("hello.txt",))
    shout = Step(id="shout", run="tr a-z A-Z < hello.txt > shout.txt", needs=("greet",))
    report = await client.execute_workflow(
        RUN_PLAN,
        RunRequest(plan=Plan(plan="hello", steps=(greet, shout)), repository=str(repository)),
        id=new_run_id("hello"),
        task_queue=RUN_QUEUE,
        result_type=RunReport,
    )
    print(report.outcome, report.branch, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).resolve(), *sys.argv[2:]))
    # The SDK can abort a process while the interpreter shuts down (sdk-python issue 300).
    os._exit(0)
