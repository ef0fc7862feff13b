"""An agent that brings the reviews of all services together, and fails if one rejected."""

import json
import sys
from pathlib import Path
from typing import Any

from asked import read_asked, say, write_report


def main() -> int:
    asked = read_asked()
    say(f"task: {asked.prompt}")
    reviews = [json.loads(path.read_text(encoding="utf-8")) for path in report_paths()]
    # What the reviewers told Branchwork must be what they left in the repository.
    told = [output for output in asked.needs.values() if output]
    if unlike := [review["service"] for review in reviews if review not in told]:
        print(f"no reviewer stands by its report of {', '.join(unlike)}", file=sys.stderr)
        return 1
    results = summary(reviews)
    write_report(asked.creates[0], results)
    say(f"{len(reviews)} services: {results['verdict']}")
    asked.answer(**results)
    return 0 if results["verdict"] == "approved" else 1


def report_paths() -> list[Path]:
    return sorted(Path("services").glob("*/review-report.json"))


def summary(reviews: list[dict[str, Any]]) -> dict[str, Any]:
    approved = all(review["verdict"] == "approved" for review in reviews)
    return {
        "verdict": "approved" if approved else "rejected",
        "functions": sum(review["functions"] for review in reviews),
        "missing_hints": sum(len(review["missing_hints"]) for review in reviews),
        "services": {review["service"]: review["verdict"] for review in reviews},
    }


if __name__ == "__main__":
    sys.exit(main())
