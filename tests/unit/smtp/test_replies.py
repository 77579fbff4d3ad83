"""Cutting replies out of the byte stream."""

from __future__ import annotations

import pytest

from relayq.model import Reply
from relayq.smtp import RemoteProtocolError
from relayq.smtp.replies import MAX_LINE_OCTETS, MAX_LINES, MAX_RECEIVED_OCTETS, MAX_REPLY_OCTETS, ReplyParser


def parse(octets: bytes) -> list[Reply]:
    parser = ReplyParser()
    parser.feed(octets)
    replies = []
    while (reply := parser.next_reply()) is not None:
        replies.append(reply)
    return replies


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"250 ok\r\n", Reply(250, None, (b"ok",))),
        (b"250\r\n", Reply(250, None, (b"",))),
        (b"250 \r\n", Reply(250, None, (b"",))),
        (b"250 ok\n", Reply(250, None, (b"ok",))),
        (b"250 ok\r\r\n", Reply(250, None, (b"ok",))),
        (b"250 2.1.0 ok\r\n", Reply(250, "2.1.0", (b"ok",))),
        (b"250 2.1.0\r\n", Reply(250, "2.1.0", (b"",))),
        (b"550 5.123.999 x\r\n", Reply(550, "5.123.999", (b"x",))),
        (b"550 5.1234.1 x\r\n", Reply(550, None, (b"5.1234.1 x",))),
        (b"550 3.1.1 x\r\n", Reply(550, None, (b"3.1.1 x",))),
        (b"550 5.1.1x\r\n", Reply(550, None, (b"5.1.1x",))),
        (b"451 5.0.0 x\r\n", Reply(451, "5.0.0", (b"x",))),
        (b"259 x\r\n", Reply(259, None, (b"x",))),
        (b"250-2.1.0 one\r\n250 2.1.0 two\r\n", Reply(250, "2.1.0", (b"one", b"two"))),
        (b"250-one\r\n250 2.1.0 two\r\n", Reply(250, None, (b"one", b"two"))),
        (b"450-one\r\n550 two\r\n", Reply(550, None, (b"one", b"two"))),
        (b"250-\r\n250-\r\n250\r\n", Reply(250, None, (b"", b"", b""))),
        (b"250 a\rb\x00\xff\r\n", Reply(250, None, (b"a b\x00\xff",))),
        (b"250 " + b"x" * (MAX_LINE_OCTETS - 4) + b"\r\n", Reply(250, None, (b"x" * (MAX_LINE_OCTETS - 4),))),
    ],
)
def test_reply(octets: bytes, expected: Reply) -> None:
    assert parse(octets) == [expected]


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n",
        b"hello\r\n",
        b"25\r\n",
        b"2500 x\r\n",
        b"250x\r\n",
        b"250\tx\r\n",
        b" 250 x\r\n",
        b"150 x\r\n",
        b"099 x\r\n",
        b"650 x\r\n",
        b"260 x\r\n",
        b"2\xb22 x\r\n",
        b"250-one\r\nhello\r\n",
        b"250-one\r\n\r\n",
        b"x" * (MAX_LINE_OCTETS + 2),
        b"250 " + b"x" * (MAX_LINE_OCTETS - 3) + b"\r\n",
        b"250-" + b"x" * (MAX_LINE_OCTETS - 3) + b"\r\n",
        b"250-x\r\n" * (MAX_LINES + 1),
        b"250-x\r\n" * MAX_LINES + b"250 x\r\n",
        (b"250-" + b"x" * 2000 + b"\r\n") * (MAX_REPLY_OCTETS // 2000 + 1),
    ],
)
def test_no_reply(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(octets)
    assert len(caught.value.received) <= MAX_RECEIVED_OCTETS


def test_limits_are_reached_but_not_crossed() -> None:
    (reply,) = parse(b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n")
    assert len(reply.lines) == MAX_LINES


def test_what_was_received_is_told() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(b"250-one\r\nhello\r\n250 more\r\n")
    assert caught.value.received == b"250-one\r\nhello"


def test_replies_before_a_breach_come_out_first_and_none_after_it() -> None:
    parser = ReplyParser()
    parser.feed(b"250 ok\r\nhello\r\n250 ok\r\n")
    assert parser.next_reply() == Reply(250, None, (b"ok",))
    for _ in range(2):
        parser.feed(b"250 ok\r\n")
        with pytest.raises(RemoteProtocolError):
            parser.next_reply()
    assert parser.has_pending


def test_pending_octets() -> None:
    parser = ReplyParser()
    pending = [parser.has_pending]
    parser.feed(b"250-one\r\n25")
    assert parser.next_reply() is None
    assert parser.pending == b"250-one\r\n25"
    pending.append(parser.has_pending)
    parser.feed(b"0 two\r\n")
    pending.append(parser.has_pending)
    assert parser.next_reply() == Reply(250, None, (b"one", b"two"))
    pending.append(parser.has_pending)
    assert pending == [False, True, True, False]


def test_a_long_line_that_comes_slowly_is_noticed_before_its_end() -> None:
    parser = ReplyParser()
    for _ in range(MAX_LINE_OCTETS + 1):
        parser.feed(b"2")
    assert parser.next_reply() is None
    parser.feed(b"2")
    with pytest.raises(RemoteProtocolError, match="too long"):
        parser.next_reply()


def test_memory_is_freed_after_a_breach() -> None:
    parser = ReplyParser()
    parser.feed(b"x" * 100_000)
    assert parser.pending == b""
