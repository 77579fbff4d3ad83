"""Collects what the fault suite saw, for docs/reliability.md."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.faults.outcome import Outcome, has_doubt

REPORT_VARIABLE = "RELAYQ_FAULT_REPORT"
"""Names a file that gets a line of JSON for each case; nothing is written without it."""


LONG_VARIABLE = "RELAYQ_FAULT_LONG"
"""How often the loop of kills kills; it does not run without."""


def long_kills() -> int:
    """How often the loop of kills is to kill."""
    return int(os.environ.get(LONG_VARIABLE) or 0)


def is_reporting() -> bool:
    """Whether this is the long run whose outcome is written down."""
    return bool(os.environ.get(REPORT_VARIABLE))


def report(line: str, fault: str, seen: Outcome) -> None:
    """Tell of a bad line, if asked to by `REPORT_VARIABLE`."""
    _write({"kind": "line", "line": line, "fault": fault}, seen)


def report_disaster(fault: str, broker: str, seen: Outcome) -> None:
    """Tell of something that happened to the installation, if asked to by `REPORT_VARIABLE`."""
    _write(
        {"kind": "disaster", "fault": fault, "broker": broker, "told_twice": len(seen.told_twice)},
        seen,
    )


def report_kills(fault: str, broker: str, seen: Outcome) -> None:
    """Tell of a loop of kills, if asked to by `REPORT_VARIABLE`."""
    marked = sum(any(map(has_doubt, results)) for results in seen.results.values())
    _write(
        {"kind": "kills", "fault": fault, "broker": broker, "told_twice": len(seen.told_twice), "marked": marked},
        seen,
    )


def _write(row: dict[str, Any], seen: Outcome) -> None:
    path = os.environ.get(REPORT_VARIABLE)
    if not path:
        return
    row |= {
        "messages": seen.messages,
        "lost": len(seen.lost),
        "doubled": len(seen.doubled),
        "unexplained": len(seen.unexplained),
        "seconds": round(seen.seconds, 1),
    }
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(row)}\n")
