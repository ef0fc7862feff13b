"""The JSON object that an agent hands on, read from the file that it wrote."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from activities.lines import Secrets
from branchwork.fields import Params

OUTPUT_BYTES = 64 * 1024


class BadOutputError(ValueError):
    """What an agent wrote as its output cannot be handed on; the text says why."""


def read_output(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None if there is no such file. Raises BadOutputError."""
    try:
        # Not through a link, and without waiting for whoever should write into a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadOutputError(f"cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BadOutputError("is not a file")
        if found.st_size > OUTPUT_BYTES:
            raise BadOutputError(
                f"has {found.st_size} bytes, the most is {OUTPUT_BYTES}; leave the long part in"
                " a file of the worktree and hand on its path"
            )
        return _parsed(os.read(descriptor, OUTPUT_BYTES))
    finally:
        os.close(descriptor)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        output = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadOutputError(f"is not JSON: {error}") from error
    if not isinstance(output, dict):
        raise BadOutputError(f"holds a JSON {type(output).__name__}; it must be an object")
    try:
        TypeAdapter[Mapping[str, Any]](Params).validate_python(output)
    except ValidationError as error:
        raise BadOutputError(f"cannot be handed on: {error.errors()[0]['msg']}") from error
    return output


def hidden(value: Any, secrets: Secrets) -> Any:
    if isinstance(value, str):
        return secrets.hide_in(value)
    if isinstance(value, list):
        return [hidden(inner, secrets) for inner in value]
    if isinstance(value, dict):
        return {secrets.hide_in(key): hidden(inner, secrets) for key, inner in value.items()}
    return value
