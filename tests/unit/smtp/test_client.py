"""The client where a transcript cannot go: wrong calls, octets at the wrong moment, what a session reads off it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from relayq.model import DeliveryState, EmailAddress, Reply, ResultType, parse_address
from relayq.smtp import Broken, Closed, LocalProtocolError, SmtpClient, TlsMode, Transaction
from tests.dialogues.places import PLACES, go_to
from tests.dialogues.transcript import describe_event

CONTENT = b"Subject: x\r\n\r\nHello\r\n"
MAIL = Transaction(sender=parse_address("b@shop.example"), recipient=parse_address("anna@example.org"), content=CONTENT)


def events(client: SmtpClient) -> list[str]:
    seen = []
    while (event := client.next_event()) is not None:
        seen.append(describe_event(event))
    return seen


@pytest.mark.parametrize("name", ["", "bücher.example", "a\r\nRSET", "a\0"])
def test_ehlo_name_must_fit_into_a_command(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        SmtpClient(ehlo_name=name, tls=TlsMode.NEVER)


@pytest.mark.parametrize("place", sorted(PLACES.keys() - {"idle"}))
def test_a_transaction_begins_only_when_ready(place: str) -> None:
    client = go_to(place)
    assert not client.is_ready
    with pytest.raises(LocalProtocolError):
        client.begin(MAIL)


CALLS: dict[str, Callable[[SmtpClient], None]] = {
    "provide_content": lambda client: client.provide_content(CONTENT),
    "abandon": lambda client: client.abandon(),
    "tls_established": lambda client: client.tls_established(),
}


@pytest.mark.parametrize("place", sorted(PLACES.keys() - {"content due", "handshake"}))
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_calls_nobody_asked_for(place: str, call: Callable[[SmtpClient], None]) -> None:
    client = go_to(place)
    with pytest.raises(LocalProtocolError):
        call(client)
    assert client.data_to_send() == b""


def test_content_must_end_with_a_line_end() -> None:
    client = go_to("content due")
    with pytest.raises(LocalProtocolError):
        client.provide_content(b"x")
    client = go_to("idle")
    with pytest.raises(LocalProtocolError):
        client.begin(Transaction(sender=None, recipient=MAIL.recipient, content=b"x\n"))
    assert client.is_ready


def test_a_transaction_that_cannot_be_written_leaves_the_session_as_it_was() -> None:
    client = go_to("idle")
    forged = EmailAddress("x", b"a@b.test>\r\nRSET", "b.test")
    for transaction in (
        Transaction(sender=forged, recipient=MAIL.recipient, content=CONTENT),
        Transaction(sender=None, recipient=forged, content=CONTENT),
    ):
        with pytest.raises(LocalProtocolError):
            client.begin(transaction)
    assert client.data_to_send() == b""
    assert client.is_ready
    client.begin(MAIL)
    assert client.data_to_send() == b"MAIL FROM:<b@shop.example>\r\n"


@pytest.mark.parametrize(
    ("behind", "broken"),
    [
        (b"250 EHLO reply of an attacker\r\n", "broken starttls invalid 250"),
        (b"2", "broken starttls invalid received"),
        (b"hello\r\n", "broken starttls invalid received"),
        (b"250-x\r\n", "broken starttls invalid received"),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
def test_nothing_sent_in_clear_behind_the_220_is_used(behind: bytes, broken: str, is_late: bool) -> None:
    client = go_to("STARTTLS")
    client.receive_data(b"220 go\r\n" + (b"" if is_late else behind))
    if is_late:
        assert events(client) == ["starttls"]
        client.receive_data(behind)
    assert events(client) == [broken]
    with pytest.raises(LocalProtocolError):
        client.tls_established()


def test_tls_makes_the_client_forget() -> None:
    client = SmtpClient(ehlo_name="mta1.example.net", tls=TlsMode.REQUIRED)
    client.receive_data(b"220 mx\r\n")
    client.data_to_send()
    client.receive_data(b"250-mx\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 STARTTLS\r\n")
    client.data_to_send()
    client.receive_data(b"220 go\r\n")
    before = (client.is_encrypted, client.capabilities.pipelining)
    client.tls_established()
    assert before == (False, True)
    assert (client.is_encrypted, client.capabilities.pipelining) == (True, False)
    assert client.data_to_send() == b"EHLO mta1.example.net\r\n"
    client.receive_data(b"500 no ESMTP any more\r\n")
    assert client.data_to_send() == b"HELO mta1.example.net\r\n"


def test_agreement_to_what_was_not_written_is_no_answer() -> None:
    client = go_to("DATA")
    client.receive_data(b"354 go\r\n250 accepted, really\r\n")
    event = client.next_event()
    assert isinstance(event, Broken)
    assert (event.state, event.result) == (DeliveryState.MESSAGE, ResultType.INVALID)
    assert event.reply == Reply(250, None, (b"accepted, really",))
    assert client.data_to_send() == b""


@pytest.mark.parametrize(("lines", "count"), [(1, 1), (50_000, 2)])
def test_large_content_is_not_copied_to_be_sent(lines: int, count: int) -> None:
    client = go_to("content due")
    content = b"line\r\n" * lines
    client.provide_content(content)
    client.data_to_send()
    client.receive_data(b"354 go\r\n")
    pieces = client.pieces_to_send()
    assert (b"".join(pieces), len(pieces)) == (content + b".\r\n", count)
    assert (pieces[0] is content) is (count == 2)
    assert client.pieces_to_send() == []


def test_a_refusal_may_come_early() -> None:
    client = go_to("DATA")
    client.receive_data(b"354 go\r\n421 on second thoughts\r\n")
    assert events(client) == ["refused message 421"]


def test_greeting_and_name_of_the_peer() -> None:
    client = SmtpClient(ehlo_name="mta1.example.net", tls=TlsMode.NEVER)
    client.receive_data(b"220-mx1.example.org ESMTP ready\r\n220 hi\r\n")
    assert client.remote_mta == "mx1.example.org"
    assert client.greeting == Reply(220, None, (b"mx1.example.org ESMTP ready", b"hi"))


@pytest.mark.parametrize(
    ("greeting", "name"),
    [
        (b"220\r\n", None),
        (b"220 \x00\x1b\r\n", None),
        (b"220 a\xff\x07b\r\n", "a\ufffd"),
        (b"220 " + b"m" * 999 + b"\r\n", "m" * 255),
    ],
)
def test_odd_greetings(greeting: bytes, name: str | None) -> None:
    client = SmtpClient(ehlo_name="mta1.example.net", tls=TlsMode.NEVER)
    client.receive_data(greeting)
    assert client.remote_mta == name


def test_mechanism_that_succeeded() -> None:
    client = go_to("answer to the challenge")
    before = client.authentication
    client.receive_data(b"235 ok\r\n")
    assert (before, client.authentication) == (None, "cram-md5")


def test_positive_replies_are_noticed_per_transaction() -> None:
    client = go_to("MAIL")
    seen = [client.positive_reply_seen]
    for octets in (b"250 ok\r\n", b"550 no\r\n", b"250 reset\r\n"):
        client.receive_data(octets)
        client.data_to_send()
        seen.append(client.positive_reply_seen)
    client.begin(MAIL)
    seen.append(client.positive_reply_seen)
    client.data_to_send()
    client.receive_data(b"421 idle for too long\r\n")
    seen.append(client.positive_reply_seen)
    assert seen == [False, True, True, True, False, False]
    assert client.is_over


def test_a_partial_reply_ends_an_idle_session() -> None:
    client = go_to("idle")
    client.receive_data(b"4")
    assert client.next_event() == Closed()
    client.receive_data(b"21 bye\r\n")
    assert client.next_event() is None


@pytest.mark.parametrize("place", sorted(PLACES))
def test_nothing_is_reported_after_the_end(place: str) -> None:
    client = go_to(place)
    client.receive_data(b"")
    events(client)
    for octets in (b"250 ok\r\n", b"???\r\n", b""):
        client.receive_data(octets)
        assert client.next_event() is None
        assert client.data_to_send() == b""


@pytest.mark.parametrize("place", sorted(PLACES.keys() - {"idle", "QUIT"}))
def test_quit_in_the_middle_just_ends(place: str) -> None:
    client = go_to(place)
    client.quit()
    assert client.data_to_send() == b""
    assert client.is_over
    client.receive_data(b"250 ok\r\n")
    assert client.next_event() is None


def test_quit_twice() -> None:
    client = go_to("QUIT")
    client.quit()
    assert client.data_to_send() == b""
    assert not client.is_over


def test_501_to_data_is_no_matter_of_parameters() -> None:
    client = go_to("DATA")
    client.receive_data(b"501 5.5.4 what\r\n")
    assert events(client) == ["refused data 501 goes on"]


def test_content_too_big_is_not_announced_to_a_peer_that_takes_no_parameters() -> None:
    client = SmtpClient(ehlo_name="mta1.example.net", tls=TlsMode.NEVER)
    for octets in (b"220 mx\r\n", b"250-mx\r\n250 SIZE 10\r\n"):
        client.receive_data(octets)
        client.data_to_send()
    client.begin(Transaction(sender=None, recipient=MAIL.recipient))
    client.data_to_send()
    client.receive_data(b"250 ok\r\n")
    client.data_to_send()
    client.receive_data(b"250 ok\r\n")
    client.provide_content(b"x" * 20 + b"\r\n")
    assert client.data_to_send() == b"RSET\r\n"


@pytest.mark.parametrize(
    "extensions", [b"", b"250-PIPELINING\r\n", b"250-CHUNKING\r\n", b"250-PIPELINING\r\n250-CHUNKING\r\n"]
)
def test_what_leads_the_content_is_part_of_it(extensions: bytes) -> None:
    client = SmtpClient(ehlo_name="mta.test", tls=TlsMode.NEVER, use_bdat=True)
    client.receive_data(b"220 mx\r\n")
    events(client)
    client.data_to_send()
    client.receive_data(b"250-mx\r\n" + extensions + b"250 SIZE 1000\r\n")
    events(client)
    client.data_to_send()
    client.begin(
        Transaction(sender=MAIL.sender, recipient=MAIL.recipient, content=b".dot\r\n", lead=b"DKIM-Signature: x\r\n")
    )
    sent = b""
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"" if b"CHUNKING" in extensions else b"354 go\r\n"):
        sent += client.data_to_send()
        client.receive_data(reply or b"250 ok\r\n")
        events(client)
    sent += client.data_to_send()
    assert b" SIZE=25\r\n" in sent
    if b"CHUNKING" in extensions:
        assert sent.endswith(b"BDAT 25 LAST\r\nDKIM-Signature: x\r\n.dot\r\n")
    else:
        assert sent.endswith(b"\r\nDKIM-Signature: x\r\n..dot\r\n.\r\n")
