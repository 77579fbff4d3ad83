"""Write docs/reference/matrix.md from the table that the tests run through; ``--check`` only compares."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from relayq.model import DeliveryState, ResultType  # noqa: E402 - the path comes first
from tests.support.cells import CELLS, NOT_REACHABLE, Cell  # noqa: E402
from tests.support.cells_security import SECURITY_CELLS  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "matrix.md"
COLUMNS = (ResultType.ACCEPTED, ResultType.TIMEOUT, ResultType.LOST, ResultType.INVALID, ResultType.ERROR)
HEAD = """# States and results

Every pair of `state` and `result` that an attempt can end with. Each cell below is provoked in a test by a server that
does exactly what the text says; this page is generated from the table that those tests run through. The outcome is that
of a first attempt with attempts left.

"""


def page() -> str:
    """The whole page."""
    cells: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in (*CELLS, *SECURITY_CELLS):
        cells[cell.state, cell.result].append(cell)
    lines = ["| State | " + " | ".join(f"`{column}`" for column in COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for state in DeliveryState:
        marks = [_mark(cells, state, column) for column in COLUMNS]
        lines.append(f"| `{state}` | " + " | ".join(marks) + " |")
    details: list[str] = []
    for state in DeliveryState:
        own = [cell for column in COLUMNS for cell in cells.get((state, column), ())]
        if not own:
            continue
        details += ["", f"## `{state}`", "", "| Result | When | Outcome | Properties |", "|---|---|---|---|"]
        details += [f"| `{cell.result}` | {cell.when} | {cell.outcome} | {_properties(cell)} |" for cell in own]
    missing = [f"- `{state}/{result}`: {reason}" for (state, result), reason in NOT_REACHABLE.items()]
    tail = ["", "## Not reachable yet", "", *missing] if missing else []
    return HEAD + "\n".join([*lines, *details, *tail]) + "\n"


def _mark(cells: dict[tuple[str, str], list[Cell]], state: DeliveryState, result: ResultType) -> str:
    found = cells.get((state, result))
    if found:
        return ", ".join(dict.fromkeys(cell.outcome for cell in found))
    return "not yet" if (state, result) in NOT_REACHABLE else "never"


def _properties(cell: Cell) -> str:
    names = ["from", "to", "messages"] if cell.connected else []
    if cell.code is not None:
        names += ["code", "status"]
    if cell.description is not None:
        names.append("description")
    return ", ".join(f"`{name}`" for name in names) or "none"


def main() -> int:
    """Write or compare; 1 when the page is stale."""
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text() == text:
            return 0
        print(f"{PAGE.relative_to(ROOT)} is stale: run python {Path(__file__).relative_to(ROOT)}", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
