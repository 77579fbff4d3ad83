"""What the wire has to know of content."""

from __future__ import annotations

import pytest

from relayq.compose import Analysis, analyse
from tests.support.torture import MESSAGES, TortureMessage

HEADER = b"Subject: x\r\n\r\n"


@pytest.mark.parametrize(
    ("mime", "expected"),
    [
        (b"\r\n", Analysis()),
        (HEADER + b"x\r\n", Analysis()),
        (HEADER + b"\xc3\xbc\r\n", Analysis(has_8bit=True)),
        (b"Subject: \xc3\xbc\r\n\r\nx\r\n", Analysis(has_8bit=True, has_utf8_headers=True)),
        (b"Subject: x\r\n \xfc\r\n\r\nx\r\n", Analysis(has_8bit=True, has_utf8_headers=True)),
        (b"\xc3\xbc no header\r\n", Analysis(has_8bit=True)),
        (b"\r\n\xc3\xbc\r\n", Analysis(has_8bit=True)),
        (b"From a@b \xc3\xbc\r\nSubject: x\r\n\r\nx\r\n", Analysis(has_8bit=True, has_utf8_headers=True)),
        (HEADER + b"a\0b\r\n", Analysis(has_nul=True)),
        (HEADER + b"\xfc\0\r\n", Analysis(has_8bit=True, has_nul=True)),
        (HEADER + b"x" * 998 + b"\r\n", Analysis()),
        (HEADER + b"x" * 999 + b"\r\n", Analysis(has_long_lines=True)),
        (b"Subject: " + b"x" * 999 + b"\r\n\r\n", Analysis(has_long_lines=True)),
        (HEADER + b"\xfc" * 999 + b"\r\n", Analysis(has_8bit=True, has_long_lines=True)),
        (HEADER + b"x\r\n" * 1000 + b"y" * 999 + b"\r\n", Analysis(has_long_lines=True)),
        (HEADER + b"y" * 999 + b"\r\n" + b"x\r\n" * 1000, Analysis(has_long_lines=True)),
        ((HEADER + b"y" * 998 + b"\r\n") * 50, Analysis()),
        (HEADER + b"y" * 999, Analysis(has_long_lines=True)),
        (HEADER + b"y" * 998, Analysis()),
    ],
)
def test_analyse(mime: bytes, expected: Analysis) -> None:
    assert analyse(mime) == expected


def test_clean_content_costs_no_new_record() -> None:
    assert analyse(HEADER) is analyse(b"x\r\n")


@pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: message.name)
def test_analysis_of_real_shapes_agrees_with_the_slow_way(message: TortureMessage) -> None:
    found = analyse(message.mime)
    assert found.has_8bit is any(octet > 127 for octet in message.mime)
    assert found.has_long_lines is any(len(line) > 998 for line in message.mime.split(b"\r\n"))
    assert found.has_nul is (0 in message.mime)
    header, _, _ = message.mime.partition(b"\r\n\r\n")
    if message.name not in {"only-text-8bit", "empty-header-then-8bit", "missing-separator-8bit"}:
        assert found.has_utf8_headers is not header.isascii()
