"""A worker program's look at its environment."""

import os

from activities.git import without_git_variables


def environment() -> dict[str, str]:
    """Without what would make git answer for another repository; for GitPython too."""
    environ = without_git_variables(os.environ)
    for name in os.environ.keys() - environ.keys():
        # GitPython hands on the whole environment.
        del os.environ[name]
    return environ
