"""An agent that reviews a refactored service: reads its code, runs the tests, writes a report."""

import ast
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from asked import read_asked, say, write_report
from mending import Module, flaws, missing_hints


def main() -> int:
    asked = read_asked()
    report_path = asked.creates[0]
    say(f"task: {asked.prompt}")
    report = review(report_path.parent)
    time.sleep(float(asked.params["thinking_seconds"]["review"]))
    write_report(report_path, report)
    say(f"{report['service']}: {report['verdict']}")
    asked.answer(**report)
    return 0


def review(service: Path) -> dict[str, Any]:
    sources = sorted((service / "refactored").glob("*.py"))
    modules = {path.stem: Module(path.read_text(encoding="utf-8")) for path in sources}
    found = [f"{name}: to do: {flaw}" for name, module in modules.items() for flaw in flaws(module)]
    tests = run_tests()
    say(f"{len(modules)} modules read, {tests['run']} tests run")
    return {
        "service": service.name,
        "functions": sum(count_functions(module) for module in modules.values()),
        "missing_hints": [hint for module in modules.values() for hint in missing_hints(module)],
        "flaws": found,
        "tests": tests,
        "verdict": "approved" if tests["passed"] and not found else "rejected",
    }


def count_functions(module: Module) -> int:
    return sum(isinstance(node, ast.FunctionDef) for node in ast.walk(module.tree))


def run_tests() -> dict[str, Any]:
    command = [sys.executable, "-B", "-m", "unittest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    counted = re.search(r"^Ran (\d+) test", done.stderr, re.MULTILINE)
    return {"run": int(counted[1]) if counted else 0, "passed": done.returncode == 0}


if __name__ == "__main__":
    sys.exit(main())
