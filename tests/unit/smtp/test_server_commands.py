"""Command lines as the server role reads them."""

from __future__ import annotations

import time

import pytest

from relayq.smtp import server_events as events
from relayq.smtp.server_commands import MAX_KEPT_OCTETS, Chunk, parse_command


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"EHLO mx.test", events.Ehlo("mx.test")),
        (b"ehlo  [192.0.2.1] ", events.Ehlo("[192.0.2.1]")),
        (b"HELO \xff", events.Helo("\ufffd")),
        (b"MAIL FROM:<>", events.MailFrom("", {})),
        (b"mail from:<a@b.test>", events.MailFrom("a@b.test", {})),
        (b"MAIL FROM: <a@b.test> SIZE=1 body=8BITMIME SMTPUTF8", events.MailFrom(
            "a@b.test", {"SIZE": "1", "BODY": "8BITMIME", "SMTPUTF8": None})),
        (b"MAIL FROM:<a@b.test>  ", events.MailFrom("a@b.test", {})),
        (b'MAIL FROM:<"a> b\\"c"@b.test> X==', events.MailFrom('"a> b\\"c"@b.test', {"X": "="})),
        ("MAIL FROM:<jürgen@b.test>".encode(), events.MailFrom("jürgen@b.test", {})),
        (b"RCPT TO:<@relay.test,@other.test:a@b.test>", events.RcptTo("a@b.test", {})),
        (b"RCPT TO:<postmaster> NOTIFY=NEVER ORCPT=rfc822;a+2Bb", events.RcptTo(
            "postmaster", {"NOTIFY": "NEVER", "ORCPT": "rfc822;a+2Bb"})),
        (b"DATA", events.DataRequested()),
        (b"data ", events.DataRequested()),
        (b"BDAT 0 LAST", Chunk(0, True)),
        (b"bdat 86  last", Chunk(86, True)),
        (b"BDAT 1000", Chunk(1000, False)),
        (b"RSET", events.Reset()),
        (b"NOOP whatever", events.Noop()),
        (b"QUIT", events.Quit()),
        (b"STARTTLS", events.StartTlsRequested()),
        (b"AUTH plain", events.AuthRequested("PLAIN", None)),
        (b"AUTH PLAIN =", events.AuthRequested("PLAIN", b"")),
        (b"AUTH PLAIN AGEAYg==", events.AuthRequested("PLAIN", b"AGEAYg==")),
    ],
)  # fmt: skip
def test_command(line: bytes, expected: object) -> None:
    assert parse_command(line) == expected


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        (b"EHLO", "EHLO"),
        (b"HELO ", "HELO"),
        (b"MAIL", "MAIL"),
        (b"MAIL FROM:a@b.test", "MAIL"),
        (b"MAIL FROM:<a@b.test", "MAIL"),
        (b"MAIL FROM:<a@b.test>SIZE=1", "MAIL"),
        (b"MAIL FROM:<a>b@c.test>", "MAIL"),
        (b"MAIL TO:<a@b.test>", "MAIL"),
        (b"RCPT FROM:<a@b.test>", "RCPT"),
        (b'RCPT TO:<"a@b.test>', "RCPT"),
        (b"DATA now", "DATA"),
        (b"BDAT", "BDAT"),
        (b"BDAT -1", "BDAT"),
        (b"BDAT 1 FIRST", "BDAT"),
        (b"BDAT " + b"9" * 21, "BDAT"),
        (b"BDAT \xb2", "BDAT"),
        (b"RSET now", "RSET"),
        (b"QUIT now", "QUIT"),
        (b"STARTTLS now", "STARTTLS"),
        (b"AUTH", "AUTH"),
        (b"AUTH PLAIN a b", "AUTH"),
    ],
)
def test_wrong_form(line: bytes, verb: str) -> None:
    assert parse_command(line) == events.Unknown(verb, line, "syntax")


@pytest.mark.parametrize("line", [b"", b" ", b"HELP", b"GET / HTTP/1.1", b"\xff\x00", b"EHLO\tmx.test"])
def test_no_command(line: bytes) -> None:
    event = parse_command(line)
    assert isinstance(event, events.Unknown)
    assert (event.line, event.reason) == (line, "command")


def test_what_is_kept_of_a_line_is_bounded() -> None:
    event = parse_command(b"X" * 10_000)
    assert isinstance(event, events.Unknown)
    assert len(event.line) == len(event.verb) == MAX_KEPT_OCTETS


@pytest.mark.parametrize(
    "line",
    [
        b'MAIL FROM:<"' + b"\\" * 12_000,
        b"MAIL FROM:<" + b'"a"' * 4_000,
        b'MAIL FROM:<"' + b'\\"' * 6_000 + b">",
        b"MAIL FROM:" + b" " * 12_000,
        b"MAIL FROM:<a>" + b" " * 12_000 + b"\n",
        b"RCPT TO:<" + b"@" * 12_000 + b">",
    ],
)
def test_hostile_lines_take_linear_time(line: bytes) -> None:
    start = time.process_time()
    parse_command(line)
    assert time.process_time() - start < 5
