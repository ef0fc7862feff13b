"""`branchwork`: the commands, and the one place that turns exceptions into sentences."""

import errno
import sys
from collections.abc import Callable
from typing import NoReturn

import typer
from temporalio.service import RPCError

from branchwork.cli import again, collecting, looking, running, serving, showing
from branchwork.cli.connection import ServingError
from branchwork.cli.leaving import leave
from branchwork.cli.processes import GitRefusedError
from branchwork.errors import RefusedError, WorkerSilentError
from branchwork.findings import PlanFileError
from branchwork.settings import SettingsError

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)
"""What a disk refuses with: told in a sentence, not as an error of ours."""

app = typer.Typer(
    name="branchwork",
    help="Run a graph of coding-agent steps on a git repository, each in its own worktree.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (running, again, looking, showing, serving, collecting):
    module.register(app)


def main() -> NoReturn:
    leave(exit_code(app))


def exit_code(command: Callable[[], object]) -> int:
    """0 the run succeeded, 1 it did not, 2 the request was wrong, 130 interrupted."""
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except PlanFileError as error:
        return _refuse(f"{error.findings[0].file} cannot be used\n{error}", 2)
    except (RefusedError, SettingsError) as error:
        return _refuse(str(error), 2)
    except (ServingError, WorkerSilentError, GitRefusedError, RPCError) as error:
        return _refuse(str(error), 1)
    except OSError as error:
        if error.errno not in _OF_DISKS:
            raise
        return _refuse(f"{_sentence(error)}; `branchwork doctor` looks at the state folder", 1)
    return 0


def _sentence(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)


def _refuse(text: str, code: int) -> int:
    sys.stderr.write(f"branchwork: {text}\n")
    return code
