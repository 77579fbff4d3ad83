from __future__ import annotations

from pathlib import Path

from relayq.config.reference import render_reference
from relayq.config.table import TABLE

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_reference(), "run python scripts/generate_settings_reference.py"


def test_every_setting_has_one_row_of_seven_cells() -> None:
    rows = [line for line in render_reference().split("## Names of MailerQ")[0].splitlines() if line.startswith("| `")]

    assert [row.split("`")[1] for row in rows] == list(TABLE)
    assert {row.count(" | ") for row in rows} == {6}
