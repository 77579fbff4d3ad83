"""Write what the fault suite saw into docs/reference/reliability.md.

    python scripts/generate_reliability.py report.jsonl

The report is made by the tests under tests/faults with RELAYQ_FAULT_REPORT set; ``make test-faults`` does both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "reliability.md"
BEGIN, END = "<!-- begin of the table -->", "<!-- end of the table -->"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| Line to | Fault | Messages | Lost | Received twice | of these unexplained | All final after |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['line']} | {row['fault']} | {row['messages']} | {row['lost']} | {row['doubled']} "
        f"| {row['unexplained']} | {row['seconds']} s |"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Replace the table of the page."""
    if len(arguments) != 1:
        print(f"usage: {Path(__file__).name} REPORT", file=sys.stderr)
        return 64
    rows = [json.loads(line) for line in Path(arguments[0]).read_text(encoding="utf-8").splitlines()]
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    _, _, foot = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n{table(rows)}\n{END}{foot}", encoding="utf-8")
    print(f"{len(rows)} cases in {PAGE.name}; lost: {sum(row['lost'] for row in rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
