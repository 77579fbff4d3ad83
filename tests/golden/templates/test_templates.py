"""Messages and what personalisation makes of them, octet by octet."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relayq.compose.personalise import personalise_mime
from relayq.compose.template import template_context

CASES = sorted(Path(__file__).parent.glob("*.json"))
NOW = datetime(2026, 11, 21, 20, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_message(case: Path, *, update_golden: bool) -> None:
    given = json.loads(case.read_text("utf-8"))
    message = case.with_suffix(".eml").read_bytes().replace(b"\n", b"\r\n")
    context = template_context(
        given.pop("data"), envelope="bounce@shop.example", recipient="ann@customer.example", now=NOW
    )
    personalised, unrendered = personalise_mime(message, context, **given)
    expected, log = case.with_suffix(".out"), case.with_suffix(".log")
    if update_golden:
        expected.write_bytes(personalised.replace(b"\r\n", b"\n"))
        if unrendered:
            log.write_text("".join(f"{one}\n" for one in unrendered), "utf-8")
    assert personalised == expected.read_bytes().replace(b"\n", b"\r\n")
    assert [str(one) for one in unrendered] == (log.read_text("utf-8").splitlines() if log.exists() else [])


def test_there_are_cases() -> None:
    assert len(CASES) >= 9
