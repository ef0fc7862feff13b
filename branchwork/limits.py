"""What Temporal would not carry: refused with the limit named, or cut, before it is sent.

It takes payloads of 2 MB and messages of 4 MB. What is larger it refuses for ever, or ends the
run for it.
"""

from collections.abc import Container

from pydantic import BaseModel
from pydantic_core import to_json

from branchwork.contract import AttemptEnd, AttemptRequest, BaseRequest, RunRequest

MOST_REQUEST_BYTES = 1_500_000
"""Of what a run starts from: with what a long run takes along, it is below one message."""

MOST_ATTEMPT_BYTES = 1_900_000
"""Of what one attempt is handed: its step, the run's parameters, the outputs it needs."""

MOST_OUTPUTS_BYTES = 1_000_000
"""Of all outputs that one step is handed."""

MOST_PATHS_BYTES = 1_900_000
"""Of all paths that are looked for in the base, each with its step."""

MOST_REASON_BYTES = 4_000
"""Of a sentence: Temporal keeps 4 KB of a failure too."""

MOST_CHANGED_BYTES = 32_000
"""Of the changed paths that an attempt tells of."""

MOST_SUMMARY_BYTES = 380
"""Of what the UI says beside an activity or a timer: Temporal carries 400."""

MOST_DETAILS_BYTES = 19_000
"""Of what the UI says of a run: Temporal carries 20,000."""

_CUT = " […]"


def size_of(model: BaseModel) -> int:
    """Bytes that Temporal carries for it."""
    return len(model.model_dump_json().encode())


def shortened(text: str, most_bytes: int = MOST_REASON_BYTES) -> str:
    """`text`, cut to what takes no more than that in JSON."""
    # Six bytes for a control character are the most.
    if len(text) * 6 <= most_bytes or _written(text) <= most_bytes:
        return text
    kept, size = 0, len(_CUT.encode()) + 2
    while kept < len(text) and (size := size + _written(text[kept]) - 2) <= most_bytes:
        kept += 1
    return text[:kept] + _CUT


def _written(text: str) -> int:
    return len(to_json(text))


def too_large(request: RunRequest) -> str | None:
    """What is wrong with a request that Temporal would not carry."""
    size = size_of(request)
    if size <= MOST_REQUEST_BYTES:
        return None
    advice = "shorten prompts or split it"
    if not request.reuse:
        return (
            f"the plan takes {size:,} bytes, and Temporal carries {MOST_REQUEST_BYTES:,}; {advice}"
        )
    return (
        f"the plan and the results to be taken over take {size:,} bytes, and Temporal carries"
        f" {MOST_REQUEST_BYTES:,}; {advice}, or name steps with large outputs to run again"
    )


def too_many_paths(request: BaseRequest) -> str | None:
    """What is wrong with paths of the plan that together are too large to be looked for."""
    size = size_of(request)
    if size <= MOST_PATHS_BYTES:
        return None
    return (
        f"the paths that the plan requires and creates take {size:,} bytes with the steps they are"
        f" of, and {MOST_PATHS_BYTES:,} can be looked for in the base; name folders instead"
    )


def unsendable(request: AttemptRequest, lost: Container[str]) -> str | None:
    """Why an attempt cannot be handed what it is to start from, as `Name: sentence`.

    `lost` are steps whose outputs a run could not take along.
    """
    for need in request.needs:
        if need.step in lost:
            return (
                f"OutputsTooLarge: the output of {need.step!r} was left out when the run's long"
                " history was continued in a new one; let it leave a file in its worktree instead"
            )
    outputs = sum(size_of(need) for need in request.needs if need.output)
    if outputs > MOST_OUTPUTS_BYTES:
        return (
            f"OutputsTooLarge: the outputs of {len(request.needs)} steps take {outputs:,} bytes,"
            f" and {MOST_OUTPUTS_BYTES:,} can be handed on; let them leave files in their"
            " worktrees instead"
        )
    if (size := size_of(request)) > MOST_ATTEMPT_BYTES:
        return (
            f"RequestTooLarge: the step, the run's parameters and the outputs it needs take"
            f" {size:,} bytes, and {MOST_ATTEMPT_BYTES:,} can be handed to an attempt; leave"
            " something of it in files"
        )
    return None


def bounded_end(end: AttemptEnd) -> AttemptEnd:
    """`end` as far as it is carried; the commits hold all of it."""
    changed: list[str] = []
    size = 0
    for path in end.changed:
        size += _written(path) + 1
        if size > MOST_CHANGED_BYTES:
            changed.append(f"… and {len(end.changed) - len(changed)} more")
            break
        changed.append(path)
    reason = shortened(end.reason) if end.reason else end.reason
    return end.model_copy(update={"changed": tuple(changed), "reason": reason})
