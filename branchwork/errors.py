"""What a client of runs may have to tell its user."""


class RefusedError(Exception):
    """The request was wrong; the text says what to do."""


class NoSuchRunError(RefusedError):
    """There is no such run."""


class WorkerSilentError(Exception):
    """The run stands, but no worker is there to tell how."""
