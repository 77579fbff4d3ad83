"""Documents and what inlining makes of them, character by character (spec html-css-dkim.md 2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from relayq.compose.inline_css import CssInliner

CASES = sorted(Path(__file__).parent.glob("*.html"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_inlining(case: Path, *, update_golden: bool) -> None:
    inlined = CssInliner().inline_html(case.read_text("utf-8"))
    expected = case.with_suffix(".out")
    if update_golden:
        expected.write_text(inlined, "utf-8")
    assert inlined == expected.read_text("utf-8")


def test_there_are_cases() -> None:
    assert len(CASES) >= 4
