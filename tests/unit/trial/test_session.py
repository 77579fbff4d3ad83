"""Whatever a client sends, a session answers or ends; over a transport in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayq.trial import parse_script
from relayq.trial.session import SinkSession
from relayq.trial.sink import Sink


class MemoryTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1025)})
        self.written = b""
        self.is_closed = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def talk(script: str, octets: bytes, piece: int, **options: Any) -> MemoryTransport:
    sink = Sink(script=parse_script(script), on_message=lambda _: None, **options)
    session = SinkSession(sink._state, is_tls=False)
    transport = MemoryTransport()
    session.connection_made(transport)
    for at in range(0, len(octets), piece):
        session.data_received(octets[at : at + piece])
    session.connection_lost(None)
    return transport


SCRIPTS = (
    "",
    "rcptto *x* 450 no\nmessage * share=50% 554 no",
    "data * 250 odd\nmailfrom * twice 250 ok",
    "ehlo * garbage\nauth * 535 no",
    "rcptto * unasked 421 bye",
    "message * stall",
    "mailfrom * drop",
)
WORDS = st.sampled_from(
    [b"EHLO x", b"HELO x", b"MAIL FROM:<a@b.test>", b"MAIL FROM:<> SIZE=9999999999", b"RCPT TO:<c@x.test>",
     b"RCPT TO:<\xff@x>", b"DATA", b"hi", b".", b"..", b"RSET", b"NOOP", b"QUIT", b"STARTTLS", b"AUTH PLAIN",
     b"AUTH LOGIN", b"AUTH CRAM-MD5", b"AGEAYg==", b"*", b"====", b"BDAT 5", b"BDAT 5 LAST",
     b"BDAT 99999999999999999999", b"VRFY x", b"", b"\x00\xff"]
)  # fmt: skip
LINES = st.lists(st.tuples(WORDS | st.binary(max_size=12), st.sampled_from([b"\r\n", b"\n", b"\r", b""])), max_size=25)


@given(LINES, st.integers(1, 40), st.sampled_from(SCRIPTS))
def test_any_octets_are_survived(lines: list[tuple[bytes, bytes]], piece: int, script: str) -> None:
    transport = talk(script, b"".join(map(b"".join, lines)), piece, seed=1, max_message_octets=30)
    assert transport.written.startswith(b"220 ")
    assert transport.written.count(b"\n") == transport.written.count(b"\r\n")


@given(LINES, st.integers(1, 40))
def test_pieces_make_no_difference(lines: list[tuple[bytes, bytes]], piece: int) -> None:
    octets = b"".join(map(b"".join, lines))
    assert talk("", octets, piece).written == talk("", octets, max(len(octets), 1)).written


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_a_line_without_end_is_bounded(piece: int) -> None:
    transport = talk("", b"x" * 50_000 + b"\r\nNOOP\r\n", piece)
    assert [line[:3] for line in transport.written.splitlines()] == [b"220", b"500", b"250"]
