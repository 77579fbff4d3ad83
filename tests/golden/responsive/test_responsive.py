"""Documents and the messages they become, octet by octet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relayq.compose.responsive import DownloadFailure, Resource, ResponsiveOptions
from tests.support.documents import compose, defects, parsed, part_of
from tests.support.mime_oracle import check_by_two_parsers

CASES = sorted(Path(__file__).parent.glob("*.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_messages(case: Path, *, update_golden: bool) -> None:
    given = json.loads(case.read_text("utf-8"))
    message = compose(
        given["mime"],
        data=given.get("data"),
        envelope=given.get("envelope"),
        recipient=given.get("recipient", "ann@example.org"),
        force=given.get("force", False),
        options=ResponsiveOptions(**given.get("options", {})),
        answers={url: _answer(answer) for url, answer in given.get("downloads", {}).items()},
    )
    expected = case.with_suffix(".out")
    if update_golden:
        expected.write_bytes(message.replace(b"\r\n", b"\n"))
    assert message == expected.read_bytes().replace(b"\n", b"\r\n")
    assert not defects(parsed(message))
    check_by_two_parsers(message)
    for media_type, suffix in (("text/plain", ".txt"), ("text/html", ".html")):
        decoded = case.with_suffix(suffix)
        if decoded.exists():
            assert part_of(message, media_type) == decoded.read_text("utf-8").removesuffix("\n")


def _answer(given: dict[str, str]) -> Resource | DownloadFailure:
    if "cause" in given:
        return DownloadFailure(given["cause"], is_temporary=bool(given.get("is_temporary")))
    body = bytes.fromhex(given["hex"]) if "hex" in given else given["body"].encode()
    return Resource(body, given.get("type"), given.get("disposition"))


def test_there_are_cases() -> None:
    assert len(CASES) >= 2
