"""The server role: whole sessions, any answer, content and its end."""

from __future__ import annotations

import pytest

from relayq.smtp import LocalProtocolError, SmtpServer, encode_reply
from relayq.smtp import server_events as events
from relayq.smtp.data import stuff_dots
from relayq.smtp.server import CONGESTED_OCTETS, MAX_LINE_OCTETS

ENVELOPE = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"


def greeted(**settings: object) -> SmtpServer:
    server = SmtpServer(**settings)  # type: ignore[arg-type]
    assert server.next_event() == events.GreetingDue()
    server.reply(220, "mx.test")
    server.data_to_send()
    return server


def in_data(**settings: object) -> SmtpServer:
    server = greeted(**settings)
    server.receive_data(ENVELOPE)
    for code in (250, 250, 354):
        assert server.next_event() is not None
        server.reply(code, "ok")
    server.data_to_send()
    return server


def serve(server: SmtpServer) -> list[events.ServerEvent]:
    """All events there are, each answered as usual."""
    seen = []
    while (event := server.next_event()) is not None:
        seen.append(event)
        if isinstance(event, events.PeerClosed):
            break
        server.reply(354 if isinstance(event, events.DataRequested) else 250, "ok")
    return seen


def test_a_session() -> None:
    server = SmtpServer()
    server.receive_data(b"EHLO mta.test\r\n" + ENVELOPE + b"x\r\n.\r\nNOOP\r\nRSET\r\nQUIT\r\n")
    assert serve(server) == [
        events.GreetingDue(),
        events.Ehlo("mta.test"),
        events.MailFrom("a@b.test", {}),
        events.RcptTo("c@d.test", {}),
        events.DataRequested(),
        events.MessageReceived(b"x\r\n", 3),
        events.Noop(),
        events.Reset(),
        events.Quit(),
    ]
    assert server.data_to_send() == b"250 ok\r\n" * 4 + b"354 ok\r\n" + b"250 ok\r\n" * 4
    assert server.data_to_send() == b""


def test_the_next_event_waits_for_the_reply() -> None:
    server = SmtpServer()
    server.receive_data(b"NOOP\r\nQUIT\r\n")
    assert server.next_event() == events.GreetingDue()
    assert server.next_event() is None
    server.reply(220)
    assert server.next_event() == events.Noop()
    assert server.next_event() is None
    server.reply(250)
    assert server.next_event() == events.Quit()
    assert server.data_to_send() == b"220\r\n250\r\n"


def test_no_reply_without_an_event() -> None:
    server = greeted()
    with pytest.raises(LocalProtocolError):
        server.reply(250)
    server.receive_data(b"")
    assert server.next_event() == events.PeerClosed()
    with pytest.raises(LocalProtocolError):
        server.reply(250)
    assert server.next_event() is None


def test_commands_before_the_end_are_still_served() -> None:
    server = greeted()
    server.receive_data(b"NOOP\r\nQUIT")
    server.receive_data(b"")
    assert serve(server) == [events.Noop(), events.PeerClosed()]


def test_end_in_the_middle_of_a_message() -> None:
    server = in_data()
    server.receive_data(b"x\r\n.\r")
    server.receive_data(b"")
    assert server.next_event() == events.PeerClosed()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 100])
@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b".\r\n", b""),
        (b"x\r\n.\r\n", b"x\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"\r\n.\r\n", b"\r\n"),
        (b"x\r\n..\r\n..x\r\n.\r\n", b"x\r\n.\r\n.x\r\n"),
        (b"x\n.\n.\r\nMAIL FROM:<e@f.test>\r\n.\r\n", b"x\n.\n.\r\nMAIL FROM:<e@f.test>\r\n"),
        (b"x\r.\r\r\n.\n\r\n.\r\n", b"x\r.\r\r\n\n\r\n"),
        (b"\r.\r\n.\r\n", b"\r.\r\n"),
        (b"x.\r\n.\r\n", b"x.\r\n"),
    ],
)
def test_only_a_dot_between_line_ends_is_the_end(wire: bytes, content: bytes, size: int) -> None:
    for keep in (True, False):
        server = in_data(keep_content=keep)
        octets = wire + b"NOOP\r\n"
        seen: list[events.ServerEvent] = []
        for start in range(0, len(octets), size):
            server.receive_data(octets[start : start + size])
            seen += serve(server)
        assert seen == [events.MessageReceived(content if keep else None, len(wire) - 3), events.Noop()]


@pytest.mark.parametrize("size", [1, 64, 10_000])
@pytest.mark.parametrize("keep", [True, False])
def test_too_large(size: int, keep: bool) -> None:
    server = in_data(keep_content=keep, max_message_octets=100)
    octets = b"x" * 200 + b"\r\n.\r\n" + ENVELOPE + b"y" * 98 + b"\r\n.\r\n"
    seen: list[events.ServerEvent] = []
    for start in range(0, len(octets), size):
        server.receive_data(octets[start : start + size])
        seen += serve(server)
    assert seen[0] == events.MessageReceived(None, 202, is_too_large=True)
    assert seen[-1] == events.MessageReceived(b"y" * 98 + b"\r\n" if keep else None, 100)


@pytest.mark.parametrize("size", [1, 5, 100])
def test_chunks(size: int) -> None:
    server = greeted()
    octets = b"BDAT 3\r\n.\r\nBDAT 0\r\nBDAT 4 LAST\r\n\r\n.\rBDAT 0 LAST\r\nNOOP\r\n"
    seen: list[events.ServerEvent] = []
    for start in range(0, len(octets), size):
        server.receive_data(octets[start : start + size])
        seen += serve(server)
    assert seen == [
        events.ChunkReceived(3),
        events.ChunkReceived(3),
        events.MessageReceived(b".\r\n\r\n.\r", 7),
        events.MessageReceived(b"", 0),
        events.Noop(),
    ]


def test_data_refused_is_followed_by_commands() -> None:
    server = greeted()
    server.receive_data(b"DATA\r\nNOOP\r\n")
    assert server.next_event() == events.DataRequested()
    server.reply(503, "no")
    assert server.next_event() == events.Noop()


def test_transaction_is_followed() -> None:
    server = greeted()
    trail = []
    script = (
        (b"MAIL FROM:<a@b.test>", 550), (b"MAIL FROM:<a@b.test>", 250), (b"RCPT TO:<c@d.test>", 450),
        (b"RCPT TO:<c@d.test>", 250), (b"RCPT TO:<e@f.test>", 251), (b"NOOP", 250), (b"RSET", 250),
        (b"MAIL FROM:<>", 250), (b"EHLO x", 250), (b"MAIL FROM:<>", 250), (b"BDAT 0 LAST", 250),
    )  # fmt: skip
    for line, code in script:
        server.receive_data(line + b"\r\n")
        server.next_event()
        server.reply(code, "x")
        trail.append((server.has_sender, server.recipients))
    assert trail == [
        (False, 0), (True, 0), (True, 0), (True, 1), (True, 2), (True, 2), (False, 0), (True, 0), (False, 0), (True, 0),
        (False, 0),
    ]  # fmt: skip


def test_login_dialogue() -> None:
    server = greeted()
    server.receive_data(b"AUTH LOGIN\r\ndXNlcg==\r\n*\r\nAUTH PLAIN AGEAYg==\r\nNOOP\r\n")
    seen = []
    for code in (334, 334, 501, 235):
        seen.append(server.next_event())
        server.reply(code, "x")
    seen.append(server.next_event())
    assert seen == [
        events.AuthRequested("LOGIN", None),
        events.AuthResponse(b"dXNlcg=="),
        events.AuthResponse(None),
        events.AuthRequested("PLAIN", b"AGEAYg=="),
        events.Noop(),
    ]


def test_starttls_forgets_what_came_in_clear() -> None:
    server = greeted()
    with pytest.raises(LocalProtocolError):
        server.tls_established()
    server.receive_data(b"MAIL FROM:<a@b.test>\r\nSTARTTLS\r\nMAIL FROM:<evil@b.test>\r\n")
    assert len(serve(server)) == 2
    server.receive_data(b"MAIL FROM:<evil@b.test>\r\n")
    assert server.next_event() is None
    server.tls_established()
    assert not server.has_sender
    assert server.next_event() is None
    server.receive_data(b"EHLO mta.test\r\n")
    assert server.next_event() == events.Ehlo("mta.test")


def test_starttls_refused() -> None:
    server = greeted()
    server.receive_data(b"STARTTLS\r\nNOOP\r\n")
    assert server.next_event() == events.StartTlsRequested()
    server.reply(454, "not now")
    assert server.next_event() == events.Noop()


def test_line_ends_of_commands() -> None:
    server = greeted()
    server.receive_data(b"NOOP\nRSET\r\n\r\n")
    assert serve(server) == [events.Noop(), events.Reset(), events.Unknown("", b"", "command")]


@pytest.mark.parametrize("size", [1000, 100_000])
def test_endless_line(size: int) -> None:
    server = greeted()
    octets = b"NOOP " + b"x" * (3 * MAX_LINE_OCTETS) + b"\r\nRSET\r\n"
    seen: list[events.ServerEvent] = []
    for start in range(0, len(octets), size):
        server.receive_data(octets[start : start + size])
        seen += serve(server)
    assert seen == [events.Unknown("NOOP", octets[:1024], "length"), events.Reset()]


def test_an_endless_line_is_not_kept() -> None:
    server = greeted()
    for _ in range(100):
        server.receive_data(b"x" * MAX_LINE_OCTETS)
        assert server.next_event() is None
    assert not server.is_congested


def test_congestion() -> None:
    server = SmtpServer()
    server.receive_data(b"NOOP\r\n" * (CONGESTED_OCTETS // 6 + 1))
    congested = [server.is_congested]
    serve(server)
    congested.append(server.is_congested)
    assert congested == [True, False]


@pytest.mark.parametrize(
    ("code", "lines", "octets"),
    [
        (250, (), b"250\r\n"),
        (250, ("",), b"250\r\n"),
        (250, ("ok",), b"250 ok\r\n"),
        (250, ("mx", "SIZE 1", "DSN"), b"250-mx\r\n250-SIZE 1\r\n250 DSN\r\n"),
        (550, ("größe",), "550 größe\r\n".encode()),
    ],
)
def test_encode_reply(code: int, lines: tuple[str, ...], octets: bytes) -> None:
    assert encode_reply(code, lines) == octets


@pytest.mark.parametrize(("code", "line"), [(250, "a\r\n550 b"), (250, "\0"), (199, ""), (600, ""), (250, "\x7f")])
def test_replies_that_must_not_be_written(code: int, line: str) -> None:
    server = SmtpServer()
    server.next_event()
    with pytest.raises(LocalProtocolError):
        server.reply(code, "fine", line)
    server.reply(220)
    assert server.data_to_send() == b"220\r\n"


def test_answers_that_are_no_smtp() -> None:
    server = greeted()
    server.receive_data(b"DATA\r\nx\r\n.\r\n")
    assert server.next_event() == events.DataRequested()
    server.reply_octets(b"354\x00go", 354)
    assert server.data_to_send() == b"354\x00go"
    assert server.next_event() == events.MessageReceived(b"x\r\n", 3)


def test_content_of_several_messages_is_kept_apart() -> None:
    server = greeted()
    contents = [b"a\r\n", b".b\r\n", b"\r\n"]
    server.receive_data(b"".join(ENVELOPE + stuff_dots(content) + b".\r\n" for content in contents))
    received = [event.content for event in serve(server) if isinstance(event, events.MessageReceived)]
    assert received == contents
