"""An agent that refactors a service: moves its modules into `refactored/` and mends them.

Whoever imports the old modules still finds everything there.
"""

import ast
import sys
import time
from pathlib import Path

from asked import Asked, read_asked, say
from mending import Edit, Module, apply, edits


def main() -> int:
    asked = read_asked()
    target = asked.creates[0]
    modules = [path for path in sorted(target.parent.glob("*.py")) if path.stem != "__init__"]
    if not modules:
        print(f"{target.parent} has no modules to refactor", file=sys.stderr)
        return 1
    say(f"task: {asked.prompt}")
    done = [what for module in modules for what in refactor(module, target, asked)]
    say(f"{target.parent}: {len(done)} improvements")
    asked.answer(service=target.parent.name, improvements=sorted(set(done)))
    return 0


def refactor(old: Path, target: Path, asked: Asked) -> list[str]:
    """Move one module and mend it there; what was done to it."""
    source = old.read_text(encoding="utf-8")
    new = target / old.name
    target.mkdir(exist_ok=True)
    (target / "__init__.py").touch()
    new.write_text(source, encoding="utf-8")
    old.write_text(forwarding(source, new), encoding="utf-8")
    found = edits(Module(source), asked.params["hints"])
    mend(new, found, pause(asked, old.parent.name, len(found)))
    return [edit.what for edit in found]


def forwarding(source: str, new: Path) -> str:
    """A module that hands on all that the one of `source` defines."""
    where = ".".join(new.with_suffix("").parts)
    imports = "".join(f"    {name},\n" for name in public_names(source))
    listed = "".join(f'    "{name}",\n' for name in public_names(source))
    return (
        f'"""Moved to `{where}`; still found here."""\n\n'
        f"from {where} import (\n{imports})\n\n__all__ = [\n{listed}]\n"
    )


def public_names(source: str) -> list[str]:
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names.extend(target.id for target in node.targets if isinstance(target, ast.Name))
    return sorted(name for name in names if not name.startswith("_"))


def mend(path: Path, found: list[Edit], pause_seconds: float) -> None:
    content = path.read_bytes()
    for edit in found:
        time.sleep(pause_seconds)
        content = apply(content, edit)
        path.write_bytes(content)
        say(f"{path}: {edit.what}")


def pause(asked: Asked, service: str, count: int) -> float:
    """Seconds between edits: a model that thinks takes its time, and services differ."""
    return float(asked.params["thinking_seconds"][service]) / max(count, 1)


if __name__ == "__main__":
    sys.exit(main())
