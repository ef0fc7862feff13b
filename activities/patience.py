"""How long git waits for a server that says nothing: minutes, on every way to it."""

import os
from collections.abc import Mapping
from pathlib import Path

from activities.git import call_git

# One that counts objects says so every 5 s.
_HTTP = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": "180"}
_SSH = "ssh -o ConnectTimeout=30 -o ServerAliveInterval=20 -o ServerAliveCountMax=6"
_CHOSEN = ("GIT_SSH", "GIT_SSH_COMMAND")


def patience(url: str, folder: Path) -> Mapping[str, str]:
    """The environment of a git that talks to `url`, called in `folder`.

    An ssh that somebody chose, or configured for git, stays as it is. One process for ssh.
    """
    if url.startswith(("http://", "https://")):
        return _HTTP
    if _is_ssh(url) and not any(os.environ.get(name) for name in _CHOSEN):
        asked = call_git(folder, "config", "--get", "core.sshCommand", accept=(0, 1))
        return {} if asked.text else {"GIT_SSH_COMMAND": _SSH}
    return {}


def _is_ssh(url: str) -> bool:
    return url.startswith("ssh://") or "://" not in url
