"""Collects what the fault suite saw, for docs/reference/reliability.md."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol

REPORT_VARIABLE = "RELAYQ_FAULT_REPORT"
"""Names a file that gets a line of JSON for each case; nothing is written without it."""


class Seen(Protocol):
    """What a run has to tell."""

    @property
    def received(self) -> dict[int, int]:
        """How often each message was received."""

    @property
    def lost(self) -> list[int]:
        """Messages without what they should have."""

    @property
    def doubled(self) -> list[int]:
        """Messages received more than once."""

    @property
    def unexplained(self) -> list[int]:
        """Of these, the ones whose results do not tell why."""

    @property
    def seconds(self) -> float:
        """Until everything was final."""


def is_reporting() -> bool:
    """Whether this is the long run whose outcome is written down."""
    return bool(os.environ.get(REPORT_VARIABLE))


def report(line: str, fault: str, seen: Seen) -> None:
    """Write one line, if asked to by `REPORT_VARIABLE`."""
    path = os.environ.get(REPORT_VARIABLE)
    if not path:
        return
    row = {
        "line": line,
        "fault": fault,
        "messages": len(seen.received),
        "lost": len(seen.lost),
        "doubled": len(seen.doubled),
        "unexplained": len(seen.unexplained),
        "seconds": round(seen.seconds, 1),
    }
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(row)}\n")
