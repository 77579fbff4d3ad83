"""The two parsers that judge our messages do find faults."""

from __future__ import annotations

import pytest

from tests.support.mime_oracle import check_by_two_parsers

WHOLE = (
    b"Subject: =?utf-8?q?=C3=BC?=\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=b\r\n\r\n"
    b"--b\r\n\r\nx\r\n--b\r\nContent-Disposition: attachment; filename=a\r\n\r\ny\r\n--b--\r\n"
)


def test_a_whole_message() -> None:
    check_by_two_parsers(WHOLE)


@pytest.mark.parametrize(
    "broken",
    [
        WHOLE.replace(b"--b--\r\n", b""),
        WHOLE.replace(b"boundary=b", b"boundary=c"),
        WHOLE.replace(b"=?utf-8?q?=C3=BC?=", b"=?utf-8?b?w7w?="),
        b"From: a b c <\r\n\r\n",
        b"Date: soon\r\n\r\n",
    ],
)
def test_a_broken_message(broken: bytes) -> None:
    with pytest.raises(AssertionError):
        check_by_two_parsers(broken)
