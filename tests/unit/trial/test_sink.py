"""The sink over real loopback sockets: as a strict server, and as every kind of bad one."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trustme

from relayq.trial import ReceivedMessage, Sink, parse_script

HELLO = b"EHLO me.test\r\n"
MAIL = b"MAIL FROM:<a@b.test>\r\n"
RCPT = b"RCPT TO:<c@d.test>\r\n"
CONTENT = b"Subject: x\r\n\r\nhi\r\n..stuffed\r\n.\r\n"


class Client:
    """Bare SMTP client: sends octets, reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def reply(self) -> str:
        """One whole reply; empty when the server closed."""
        lines = ""
        async with asyncio.timeout(60):
            while line := (await self.reader.readline()).decode():
                lines += line
                if line[3:4] != "-":
                    break
        return lines

    async def codes(self, count: int) -> list[str]:
        return [(await self.reply())[:3] for _ in range(count)]

    async def ask(self, octets: bytes) -> str:
        self.send(octets)
        return await self.reply()


@asynccontextmanager
async def connected(sink: Sink, *, greeted: bool = True) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(sink.host, sink.port)
    client = Client(reader, writer)
    if greeted:
        assert (await client.reply()).startswith("220 ")
        assert "PIPELINING" in await client.ask(HELLO)
    try:
        yield client
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> Iterator[ssl.SSLContext]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "sink.test").configure_cert(context)
    yield context  # noqa: PT022 - the certificate's files live as long as the fixture


def scripted(text: str, **options: object) -> Sink:
    return Sink(script=parse_script(text), **options)  # type: ignore[arg-type]


async def test_a_message_is_accepted_counted_and_handed_out() -> None:
    received: list[ReceivedMessage] = []
    async with Sink(on_message=received.append) as sink, connected(sink) as client:
        client.send(b"MAIL FROM:<a@b.test> SIZE=99 RET=HDRS\r\nRCPT TO:<c@d.test> NOTIFY=NEVER\r\n")
        client.send(b"RCPT TO:<e@f.test>\r\nDATA\r\n")
        assert await client.codes(4) == ["250", "250", "250", "354"]
        assert await client.ask(CONTENT) == "250 2.6.0 Accepted and forgotten\r\n"
        assert (sink.counters.connections, sink.counters.messages, sink.open_connections) == (1, 1, 1)
    (message,) = received
    assert message.content == b"Subject: x\r\n\r\nhi\r\n.stuffed\r\n"
    assert (message.sender, message.recipients) == ("a@b.test", ("c@d.test", "e@f.test"))
    assert message.sender_parameters == {"SIZE": "99", "RET": "HDRS"}
    assert message.recipient_parameters == ({"NOTIFY": "NEVER"}, {})
    assert (message.client, message.ehlo_name, message.user, message.is_tls) == ("127.0.0.1", "me.test", None, False)
    assert (message.code, message.ordinal) == (250, 1)


async def test_everything_in_one_write_and_several_messages_per_connection() -> None:
    ordinals: list[int] = []
    async with Sink(on_message=lambda message: ordinals.append(message.ordinal)) as sink, connected(sink) as client:
        client.send((MAIL + RCPT + b"DATA\r\n" + CONTENT) * 3 + b"QUIT\r\n")
        assert await client.codes(14) == ["250", "250", "354", "250"] * 3 + ["221", ""]
    assert ordinals == [1, 2, 3]


async def test_announced_extensions(server_context: ssl.SSLContext) -> None:
    async with Sink(max_message_octets=1000) as sink, connected(sink, greeted=False) as client:
        await client.reply()
        lines = (await client.ask(HELLO)).splitlines()
        assert {line[4:] for line in lines[1:]} == {
            "PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES",
            "AUTH CRAM-MD5 LOGIN PLAIN",
        }  # fmt: skip
    async with Sink(tls=server_context) as sink, connected(sink, greeted=False) as client:
        await client.reply()
        assert "STARTTLS" in await client.ask(HELLO)


@pytest.mark.parametrize(
    ("before", "command", "code"),
    [
        (b"", MAIL, "503"),
        (HELLO, RCPT, "503"),
        (HELLO, b"DATA\r\n", "503"),
        (HELLO + MAIL, MAIL, "503"),
        (HELLO + MAIL, b"DATA\r\n", "554"),
        (HELLO + MAIL + RCPT + b"RSET\r\n", RCPT, "503"),
        (HELLO + MAIL + RCPT + HELLO, b"DATA\r\n", "503"),
        (b"HELO me.test\r\n", MAIL, "250"),
        (HELLO, b"MAIL FROM:<>\r\n", "250"),
        (HELLO, b"MAIL FROM:<a@b.test> SIZE=1001\r\n", "552"),
        (HELLO, "MAIL FROM:<zoë@b.test>\r\n".encode(), "553"),
        (HELLO, "MAIL FROM:<zoë@b.test> SMTPUTF8\r\n".encode(), "250"),
        (HELLO + MAIL, "RCPT TO:<zoë@b.test>\r\n".encode(), "553"),
        (HELLO, b"NOOP\r\n", "250"),
        (HELLO, b"STARTTLS\r\n", "502"),
        (HELLO, b"NONSENSE\r\n", "500"),
        (HELLO, b"\x00\xff\r\n", "500"),
        (HELLO, b"BDAT 3\r\nabc", "502"),
        (HELLO + MAIL + RCPT, b"BDAT 3 LAST\r\nabc", "250"),
        (HELLO, b"AUTH NTLM\r\n", "504"),
        (HELLO, b"AUTH PLAIN !!!\r\n", "501"),
        (HELLO, b"AUTH PLAIN eA==\r\n", "501"),
    ],
)
async def test_order_of_commands(before: bytes, command: bytes, code: str) -> None:
    async with Sink(max_message_octets=1000) as sink, connected(sink, greeted=False) as client:
        await client.reply()
        for line in before.splitlines(keepends=True):
            assert (await client.ask(line))[:1] == "2"
        assert (await client.ask(command))[:3] == code


async def test_too_large_content_is_refused_and_the_session_goes_on() -> None:
    received: list[ReceivedMessage] = []
    async with Sink(max_message_octets=100, on_message=received.append) as sink, connected(sink) as client:
        client.send(MAIL + RCPT + b"DATA\r\n" + b"x" * 500 + b"\r\n.\r\n" + MAIL)
        assert await client.codes(5) == ["250", "250", "354", "552", "250"]
    assert (received[0].content, received[0].code, sink.counters.messages) == (None, 552, 0)


async def test_recipients_are_bounded() -> None:
    async with Sink() as sink, connected(sink) as client:
        client.send(MAIL + RCPT * 1001)
        assert await client.codes(1002) == ["250"] * 1001 + ["452"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_any_login_will_do(mechanism: str) -> None:
    received: list[ReceivedMessage] = []

    def talk(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            client.user, client.password = "anna", "secret"
            client.ehlo("me.test")
            authenticate = getattr(client, f"auth_{mechanism.lower().replace('-', '_')}")
            assert client.auth(mechanism, authenticate)[0] == 235
            client.sendmail("a@b.test", ["c@d.test"], b"hi")

    async with Sink(on_message=received.append) as sink:
        await asyncio.to_thread(talk, sink.port)
    assert received[0].user == "anna"


async def test_a_scripted_login_is_refused_by_user() -> None:
    async with scripted("auth anna 535 5.7.8 no") as sink, connected(sink) as client:
        assert await client.ask(b"AUTH PLAIN AGFubmEAcHc=\r\n") == "535 5.7.8 no\r\n"
        assert (await client.ask(b"AUTH PLAIN AGNhcmwAcHc=\r\n"))[:3] == "235"
        assert (await client.ask(b"AUTH LOGIN\r\n"))[:3] == "334"
        assert (await client.ask(b"*\r\n"))[:3] == "501"


async def test_starttls_and_implicit_tls(authority: trustme.CA, server_context: ssl.SSLContext) -> None:
    received: list[ReceivedMessage] = []
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def talk(port: int, *, implicit: bool) -> None:
        plain = smtplib.SMTP("127.0.0.1", port, timeout=10) if not implicit else None
        with plain or smtplib.SMTP_SSL("127.0.0.1", port, timeout=10, context=trusting) as client:
            if plain:
                client.starttls(context=trusting)
            client.ehlo("me.test")
            assert not client.has_extn("starttls")
            for _ in range(3):
                client.sendmail("a@b.test", ["c@d.test"], b"hi " * 50_000)

    async with Sink(tls=server_context, on_message=received.append) as sink:
        await asyncio.to_thread(talk, sink.port, implicit=False)
    async with Sink(tls=server_context, is_implicit_tls=True, on_message=received.append) as sink:
        await asyncio.to_thread(talk, sink.port, implicit=True)
    assert [message.is_tls for message in received] == [True] * 6


async def test_what_was_pipelined_behind_starttls_is_thrown_away(server_context: ssl.SSLContext) -> None:
    async with Sink(tls=server_context) as sink, connected(sink) as client:
        client.send(b"STARTTLS\r\n" + MAIL)
        assert (await client.reply())[:3] == "220"
        client.send(b"no handshake\r\n")
        with contextlib.suppress(ConnectionError):
            assert await client.reply() == ""


async def test_a_scripted_refusal_of_starttls_leaves_the_session_in_clear(server_context: ssl.SSLContext) -> None:
    async with scripted("starttls * 454 4.7.0 later", tls=server_context) as sink, connected(sink) as client:
        assert await client.ask(b"STARTTLS\r\n") == "454 4.7.0 later\r\n"
        assert (await client.ask(MAIL))[:3] == "250"


@pytest.mark.parametrize(
    ("script", "commands", "codes"),
    [
        ("ehlo * 502 5.5.1 no", [HELLO, b"HELO me.test\r\n", MAIL], ["502", "250", "250"]),
        ("ehlo * 502 no\nhelo me.test 450 no", [HELLO, b"HELO me.test\r\n", MAIL], ["502", "450", "503"]),
        ("mailfrom *@b.test 550 no", [HELLO, MAIL, RCPT], ["250", "550", "503"]),
        ("mailfrom <> 550 no", [HELLO, b"MAIL FROM:<>\r\n", MAIL], ["250", "550", "250"]),
        ("rcptto c@d.test 450 no", [HELLO, MAIL, RCPT, b"DATA\r\n"], ["250", "250", "450", "554"]),
        ("rcptto * first=1 450 no", [HELLO, MAIL, RCPT, RCPT], ["250", "250", "450", "250"]),
        ("data c@d.test 451 no", [HELLO, MAIL, RCPT, b"DATA\r\n", b"RSET\r\n"], ["250", "250", "250", "451", "250"]),
        ("data * 250 odd", [HELLO, MAIL, RCPT, b"DATA\r\n", b"NOOP\r\n"], ["250", "250", "250", "250", "250"]),
        (
            "message c@* 554 no",
            [HELLO, MAIL, RCPT, b"DATA\r\n", CONTENT, MAIL],
            ["250", "250", "250", "354", "554", "250"],
        ),
        ("rcptto * 421 bye", [HELLO, MAIL, RCPT, RCPT], ["250", "250", "421", ""]),
        ("rcptto * drop", [HELLO, MAIL, RCPT], ["250", "250", ""]),
        ("rcptto * garbage", [HELLO, MAIL, RCPT, b"DATA\r\n"], ["250", "250", "HTT", "554"]),
    ],
)
async def test_script(script: str, commands: list[bytes], codes: list[str]) -> None:
    async with scripted(script) as sink, connected(sink, greeted=False) as client:
        assert (await client.reply())[:3] == "220"
        assert [(await client.ask(command))[:3] for command in commands] == codes


async def test_scripted_greeting() -> None:
    async with scripted("intro 127.0.0.1 554 5.7.1 go away") as sink, connected(sink, greeted=False) as client:
        assert await client.reply() == "554 5.7.1 go away\r\n"
    async with scripted("intro * 220 hello\nehlo * 250 me\\nSIZE 5") as sink, connected(sink, greeted=False) as client:
        assert await client.reply() == "220 hello\r\n"
        assert await client.ask(HELLO) == "250-me\r\n250 SIZE 5\r\n"


async def test_replies_before_a_drop_are_sent() -> None:
    async with scripted("message * drop") as sink, connected(sink) as client:
        client.send(MAIL + RCPT + b"DATA\r\n" + CONTENT + MAIL)
        assert await client.codes(4) == ["250", "250", "354", ""]
        assert sink.counters.messages == 0


async def test_reset_is_a_reset() -> None:
    async with scripted("rcptto * reset") as sink, connected(sink) as client:
        await client.ask(MAIL)
        client.send(RCPT)
        with pytest.raises(ConnectionResetError):
            await client.reader.read()


async def test_stall_never_answers_and_survives_floods() -> None:
    async with scripted("rcptto * stall") as sink:
        async with connected(sink) as client:
            await client.ask(MAIL)
            client.send(RCPT + b"NOOP\r\n" * 200_000)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.reader.read(1)
            client.writer.transport.abort()
        async with connected(sink) as other:
            assert (await other.ask(MAIL))[:3] == "250"


async def test_slow_delays_one_reply_and_keeps_the_order() -> None:
    async with scripted("rcptto * first=1 slow=0.05 450 later") as sink, connected(sink) as client:
        started = time.monotonic()
        client.send(MAIL + RCPT + RCPT + b"DATA\r\n")
        assert await client.codes(4) == ["250", "450", "250", "354"]
        assert time.monotonic() - started >= 0.04  # timers of event loops are a little early


async def test_slow_acceptance() -> None:
    async with scripted("message * slow=0.01") as sink, connected(sink) as client:
        client.send((MAIL + RCPT + b"DATA\r\n" + CONTENT) * 2)
        assert await client.codes(8) == ["250", "250", "354", "250"] * 2


async def test_trickle_sends_single_octets() -> None:
    async with scripted("mailfrom * trickle=0.001 250 ok") as sink, connected(sink) as client:
        client.send(MAIL + RCPT)
        assert await client.reader.readexactly(1) == b"2"
        assert await client.reply() == "50 ok\r\n"
        assert (await client.reply())[:3] == "250"


async def test_twice_and_unasked() -> None:
    script = "mailfrom * twice 250 ok\nrcptto * unasked 421 4.4.2 idle too long"
    async with scripted(script) as sink, connected(sink) as client:
        client.send(MAIL)
        assert [await client.reply() for _ in range(2)] == ["250 ok\r\n"] * 2
        client.send(RCPT)
        assert (await client.reply())[:3] == "250"
        assert await client.reply() == "421 4.4.2 idle too long\r\n"
        assert await client.reply() == ""


async def test_a_late_unasked_reply_does_not_wait_for_the_dialogue() -> None:
    async with scripted("rcptto * slow=0.02 unasked 421 bye") as sink, connected(sink) as client:
        client.send(MAIL + RCPT + b"DATA\r\n")
        assert await client.codes(5) == ["250", "250", "354", "421", ""]


async def test_a_client_that_does_not_read_is_not_read() -> None:
    async with Sink() as sink:
        async with connected(sink) as client:
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]

            async def flood() -> None:
                while True:
                    client.send(b"EHLO me.test\r\n" * 20_000)
                    await client.writer.drain()

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flood(), 0.5)
            client.writer.transport.abort()
        async with connected(sink) as other:
            assert (await other.ask(MAIL))[:3] == "250"


async def test_close_ends_open_sessions() -> None:
    async with Sink() as sink, connected(sink) as client:
        await sink.close()
        with contextlib.suppress(ConnectionError):
            assert await client.reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(sink.host, sink.port)


async def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    async with Sink() as sink:
        assert sink.host == "127.0.0.1"
    async with Sink("127.0.0.9") as sink, connected(sink) as client:
        assert (await client.ask(MAIL))[:3] == "250"
