"""A `git` that asks on each call whether a point is armed for it."""

import sys
from pathlib import Path

SHIM = """\
#!/bin/sh
for word; do
  case $word in
    {commands})
      [ -e "{world}/armed/$word" ] && exec "{python}" -S -E "{program}" "{world}" "{git}" $word "$@"
      break ;;
  esac
done
exec "{git}" "$@"
"""
COMMANDS = (
    "cat-file",
    "commit-tree",
    "fetch",
    "for-each-ref",
    "merge-base",
    "merge-tree",
    "push",
    "reset",
    "rev-parse",
    "status",
    "update-index",
    "update-ref",
    "worktree",
    "write-tree",
)
PROGRAM = Path(__file__).with_name("as_git.py")


def write_shim(world: Path, git: str) -> Path:
    shim = world / "git"
    parts = {"world": world, "git": git, "python": sys.executable, "program": PROGRAM}
    shim.write_text(SHIM.format(commands="|".join(COMMANDS), **parts))
    shim.chmod(0o755)
    return shim
