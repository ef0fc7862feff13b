"""What a client of runs may have to tell its user."""


class RefusedError(Exception):
    """The request was wrong; the text says what to do."""


class NoSuchRunError(RefusedError):
    """There is no such run."""


class UnderWayError(RefusedError):
    """The run has not ended yet."""

    def __init__(self, run: str) -> None:
        super().__init__(
            f"run {run} is still under way: `branchwork watch {run}`, or end it first:"
            f" `branchwork cancel {run}`"
        )


class WorkerSilentError(Exception):
    """The run stands, but no worker is there to tell how."""
