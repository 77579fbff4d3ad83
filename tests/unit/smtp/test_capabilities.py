"""What a reply to EHLO announces."""

from __future__ import annotations

import pytest

from relayq.model import Reply
from relayq.smtp import NO_CAPABILITIES, Capabilities, encode_keywords
from relayq.smtp.capabilities import parse_capabilities


def parse(*lines: bytes) -> Capabilities:
    return parse_capabilities(Reply(250, None, (b"PIPELINING in a greeting means nothing", *lines)))


def test_everything_there_is() -> None:
    assert parse(
        b"Pipelining", b"size 100", b"8bitMIME", b"SMTPUTF8", b"STARTTLS", b"DSN", b"CHUNKING", b"ENHANCEDSTATUSCODES",
        b"auth plain Cram-MD5", b"X-UNKNOWN \xff\x00", b"", b"  ",
    ) == Capabilities(
        pipelining=True, size=True, size_limit=100, eight_bit_mime=True, smtputf8=True, starttls=True, dsn=True,
        chunking=True, enhanced_status_codes=True, auth=frozenset({"PLAIN", "CRAM-MD5"}),
    )  # fmt: skip


def test_nothing() -> None:
    assert parse() == NO_CAPABILITIES


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        (b"SIZE", None),
        (b"SIZE 0", None),
        (b"SIZE 12 34", 12),
        (b"SIZE lots", None),
        (b"SIZE -1", None),
        (b"SIZE \xb2", None),
        (b"SIZE " + b"9" * 20, 99999999999999999999),
        (b"SIZE " + b"9" * 5000, None),
    ],
)
def test_size(line: bytes, limit: int | None) -> None:
    assert parse(line) == Capabilities(size=True, size_limit=limit)


@pytest.mark.parametrize(
    ("lines", "mechanisms"),
    [
        ((b"AUTH=LOGIN PLAIN",), {"LOGIN", "PLAIN"}),
        ((b"AUTH LOGIN", b"AUTH=LOGIN PLAIN"), {"LOGIN", "PLAIN"}),
        ((b"AUTH=",), set()),
        ((b"AUTH",), set()),
    ],
)
def test_auth(lines: tuple[bytes, ...], mechanisms: set[str]) -> None:
    assert parse(*lines).auth == mechanisms


def test_keywords_of_a_server_are_understood_by_the_client() -> None:
    announced = Capabilities(
        pipelining=True, size=True, size_limit=7, eight_bit_mime=True, smtputf8=True, starttls=True, dsn=True,
        chunking=True, enhanced_status_codes=True, auth=frozenset({"PLAIN", "LOGIN"}),
    )  # fmt: skip
    assert parse(*(line.encode() for line in encode_keywords(announced))) == announced
    assert encode_keywords(Capabilities(size=True)) == ("SIZE",)
    assert encode_keywords(NO_CAPABILITIES) == ()
