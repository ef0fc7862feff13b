"""The one way out of the command line."""

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process without the interpreter's shutdown.

    The SDK's threads abort a process there in 3 to 8 of 100 cases (sdk-python
    issue 300), after the work is done and with the wrong exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        # The reader may be gone: `branchwork list | head -1`.
        with suppress(OSError, ValueError):
            stream.flush()
    gc.collect()
    os._exit(code)
