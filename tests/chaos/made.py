"""What the scripted agents make; shared by them and by those who check it. Without the product."""

import hashlib
from collections.abc import Sequence

LEDGER = "ledger.jsonl"
PARTS = ("first", "second")
"""In which a try writes bytes of its own."""


def content(step: str, needs: Sequence[str]) -> str:
    """What a step makes of what the steps that it needs have made."""
    return hashlib.sha256(" ".join([step, *needs]).encode()).hexdigest() + "\n"
