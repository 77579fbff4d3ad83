"""The page about outbox messages names every property that means something (docs/reference/messages.md)."""

from __future__ import annotations

import re
from pathlib import Path

from relayq.model.properties import PARSERS

PAGE = Path(__file__).parents[3] / "docs/reference/messages.md"
OTHERS = {"recipient", "envelope", "queues", "headers"}
"""Read elsewhere than by a parser of their own."""


def test_every_known_property_has_a_row() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]*)`", row)}

    assert (PARSERS.keys() | OTHERS) - named == set()
