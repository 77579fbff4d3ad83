"""The reference page names what there is."""

from __future__ import annotations

from pathlib import Path

from relayq.compose.template.dates import MAX_CHARACTERS
from relayq.compose.template.limits import MAX_KEPT, MAX_MODIFIERS, MAX_NESTING, MAX_OCTETS, MAX_TURNS
from relayq.compose.template.modifiers import MODIFIERS
from relayq.compose.template.regexes import MAX_SUBJECT_CHARACTERS
from relayq.compose.template.tag_parser import BINARY_OPERATORS

PAGE = (Path(__file__).parents[4] / "docs/reference/templates.md").read_text("utf-8")


def test_every_modifier() -> None:
    assert [name for name in [*MODIFIERS, "raw"] if f"`{name}`" not in PAGE] == []


def test_every_operator() -> None:
    assert [name for name in BINARY_OPERATORS if f"`{name}`".replace("|", r"\|") not in PAGE] == []


def test_limits() -> None:
    assert f"{MAX_OCTETS >> 20} MiB" in PAGE
    assert f"| {MAX_NESTING} |" in PAGE
    assert f"| {MAX_MODIFIERS:,} |" in PAGE
    assert f"| {MAX_TURNS:,} |" in PAGE
    assert f"{MAX_KEPT >> 20} Mi characters" in PAGE
    assert f"{MAX_SUBJECT_CHARACTERS >> 10} Ki characters" in PAGE
    assert MAX_CHARACTERS == 255
