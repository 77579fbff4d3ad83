"""Write what the fault suite saw into docs/reliability.md.

    python scripts/generate_reliability.py report.jsonl

The report is made by the tests under tests/faults with RELAYQ_FAULT_REPORT set; ``make test-faults`` does both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"


COUNTS = {"Messages": "messages", "Lost": "lost"}
LINES = {"Line to": "line", "Fault": "fault", **COUNTS, "Received twice": "doubled"}
DISASTERS = {"What happens": "fault", "Broker": "broker", **COUNTS, "Twice": "doubled"}
UNEXPLAINED = {"of these unexplained": "unexplained"}
END = {"All final after": "seconds"}


def table(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """Rows as Markdown; the first two columns are words.

    Args:
        rows: What the suite wrote down.
        columns: Titles, and the members they show.
    """
    lines = [f"| {' | '.join(columns)} |", "|---|---|" + "---:|" * (len(columns) - 2)]
    for row in rows:
        shown = (f"{row[name]} s" if name == "seconds" else str(row[name]) for name in columns.values())
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


def bad_lines(rows: list[dict[str, Any]]) -> str:
    """Bad lines, as Markdown."""
    return table(rows, LINES | UNEXPLAINED | END)


def disasters(rows: list[dict[str, Any]]) -> str:
    """What happened to the installation, as Markdown."""
    return table(rows, DISASTERS | UNEXPLAINED | {"Told twice": "told_twice"} | END)


def kills(rows: list[dict[str, Any]]) -> str:
    """What loops of kills left, as Markdown."""
    return table(rows, DISASTERS | UNEXPLAINED | {"Marked": "marked", "Told twice": "told_twice"} | END)


def replaced(page: str, name: str, text: str) -> str:
    """The page with other text between the marks of that name."""
    begin, end = f"<!-- begin of {name} -->", f"<!-- end of {name} -->"
    head, _, rest = page.partition(begin)
    _, _, foot = rest.partition(end)
    return f"{head}{begin}\n{text}\n{end}{foot}"


def main(arguments: list[str]) -> int:
    """Replace the tables of the page; one without rows stays as it is."""
    if len(arguments) != 1:
        print(f"usage: {Path(__file__).name} REPORT", file=sys.stderr)
        return 64
    rows = [json.loads(line) for line in Path(arguments[0]).read_text(encoding="utf-8").splitlines()]
    page = PAGE.read_text(encoding="utf-8")
    for name, kind, write in (
        ("lines", "line", bad_lines),
        ("disasters", "disaster", disasters),
        ("kills", "kills", kills),
    ):
        chosen = [row for row in rows if row["kind"] == kind]
        if chosen:
            page = replaced(page, name, write(chosen))
    PAGE.write_text(page, encoding="utf-8")
    print(f"{len(rows)} cases in {PAGE.name}; lost: {sum(row['lost'] for row in rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
