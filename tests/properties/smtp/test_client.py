"""Whatever a peer sends, and however it arrives: the client stays within its contract."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayq.model import DsnOptions, EmailAddress, parse_address
from relayq.smtp import (
    Broken,
    Closed,
    Credentials,
    Delivered,
    Event,
    LocalProtocolError,
    Ready,
    RecipientAccepted,
    Refused,
    SmtpClient,
    StartTls,
    TlsMode,
    Transaction,
)
from relayq.smtp.replies import MAX_RECEIVED_OCTETS
from tests.dialogues import transcript
from tests.dialogues.places import PLACES, go_to
from tests.dialogues.transcript import (
    Act,
    Close,
    Send,
    Transcript,
    act,
    check,
    describe_event,
    load_transcript,
)

FOLDER = Path(transcript.__file__).parent
TRANSCRIPTS = [load_transcript(path) for path in sorted(FOLDER.glob("*.smtp"))]
TRANSACTIONS = [
    Transaction(
        sender=parse_address("b@shop.example"),
        recipient=parse_address("anna@example.org"),
        content=b".x\r\n",
        has_8bit=True,
        dsn=DsnOptions(notify=("NEVER",), envid="x"),
    ),
    Transaction(sender=None, recipient=parse_address("jürgen@example.org"), content=b"x\r\n"),
    Transaction(sender=None, recipient=parse_address("anna@example.org")),
]

codes = st.sampled_from(["220", "235", "250", "334", "354", "421", "450", "500", "501", "521", "535", "550", "555"])
keywords = st.sampled_from(
    ["PIPELINING", "SIZE 30", "8BITMIME", "SMTPUTF8", "STARTTLS", "DSN", "CHUNKING", "AUTH PLAIN LOGIN CRAM-MD5", "???"]
)
replies = st.one_of(
    codes.map(lambda code: f"{code} ok\r\n".encode()),
    st.lists(keywords, min_size=1, max_size=9).map(
        lambda words: "".join(f"250-{word}\r\n" for word in ["mx", *words]).encode() + b"250 HELP\r\n"
    ),
    st.binary(max_size=20),
    st.just(b""),
)
# Mostly what leads on, so that the far places are reached too.
leading = st.sampled_from([b"220 hi\r\n", b"250 ok\r\n", b"354 go\r\n", b"334 PDQ3MTE=\r\n", b"235 ok\r\n"])
clients = st.builds(
    SmtpClient,
    ehlo_name=st.just("mta1.example.net"),
    tls=st.sampled_from(TlsMode),
    credentials=st.sampled_from([None, Credentials("relay-user", "s3cret-pass")]),
    allow_clear_auth=st.booleans(),
    use_pipelining=st.booleans(),
    use_bdat=st.booleans(),
)
LINE = re.compile(rb"[^\x00-\x1f\x7f]*\r\n")


def go_on(client: SmtpClient, event: Event, choice: int) -> None:
    """What a session would do."""
    if isinstance(event, StartTls) and not client.is_over:
        client.tls_established()
    elif isinstance(event, Ready | Delivered) and client.is_ready:
        # Refused without asking the peer, the second one would come back here for ever.
        usable = TRANSACTIONS if client.capabilities.smtputf8 else TRANSACTIONS[::2]
        client.begin(usable[choice % len(usable)])
    elif isinstance(event, RecipientAccepted) and not client.is_over:
        if choice % 3:
            client.provide_content(b".x\r\n" * (choice % 12))
        else:
            client.abandon()


@given(client=clients, answers=st.lists(st.tuples(st.one_of(leading, replies), st.integers(1, 1000)), max_size=40))
def test_any_replies_lead_to_events_and_never_raise(client: SmtpClient, answers: list[tuple[bytes, int]]) -> None:
    assert client.data_to_send() == b""
    ended = False
    for octets, choice in answers:
        client.receive_data(octets)
        while (event := client.next_event()) is not None:
            assert not ended, "an event behind the last one"
            ended = isinstance(event, Broken | Closed) or (isinstance(event, Refused) and not event.is_usable)
            assert ended <= client.is_over
            if isinstance(event, Broken):
                assert len(event.received or b"") <= MAX_RECEIVED_OCTETS
            go_on(client, event, choice)
        sent = client.data_to_send()
        assert not (ended and sent)
        # Commands, answers and content alike consist of whole lines without any other control character.
        assert re.fullmatch(rb"(?:[^\x00-\x1f\x7f]*\r\n)*", sent)


@given(
    place=st.sampled_from(sorted(PLACES)),
    octets=st.lists(st.one_of(replies, leading), max_size=4).map(b"".join),
)
def test_any_octets_in_any_place(place: str, octets: bytes) -> None:
    client = go_to(place)
    client.receive_data(octets)
    for _ in range(100):
        if client.next_event() is None:
            break
    else:
        pytest.fail("events without end")


@given(dialogue=st.sampled_from(TRANSCRIPTS), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_any_split_of_the_octets_gives_the_same_events(dialogue: Transcript, cuts: list[int]) -> None:
    client = dialogue.make_client()
    for step in dialogue.steps:
        if isinstance(step, Send):
            rest, turn = step.octets, 0
            while rest:
                size = cuts[turn % len(cuts)]
                client.receive_data(rest[:size])
                rest, turn = rest[size:], turn + 1
        elif isinstance(step, Close):
            client.receive_data(b"")
        elif isinstance(step, Act):
            act(client, step)
        else:
            check(client, step)
    assert describe_event(client.next_event()) == "nothing"


@given(
    wire=st.binary(max_size=30),
    recipient=st.binary(max_size=30),
    envid=st.text(max_size=20),
    orcpt=st.text(max_size=20),
    pipelining=st.booleans(),
)
def test_no_control_character_gets_into_the_octets(
    wire: bytes, recipient: bytes, envid: str, orcpt: str, pipelining: bool
) -> None:
    client = SmtpClient(ehlo_name="mta1.example.net", tls=TlsMode.NEVER, use_pipelining=pipelining)
    client.receive_data(b"220 mx\r\n")
    client.data_to_send()
    client.receive_data(b"250-mx\r\n250-DSN\r\n250-SIZE\r\n250 PIPELINING\r\n")
    transaction = Transaction(
        sender=EmailAddress("forged", wire, "b.test"),
        recipient=EmailAddress("forged", recipient, "b.test"),
        content=b"x\r\n",
        dsn=DsnOptions(envid=envid, orcpt=orcpt),
    )
    try:
        client.begin(transaction)
    except LocalProtocolError:
        assert client.data_to_send() == b""
        assert client.is_ready
        return
    lines = LINE.findall(client.data_to_send())
    client.receive_data(b"250 ok\r\n")
    lines += LINE.findall(client.data_to_send())
    assert [line[:4] for line in lines] == [b"MAIL", b"RCPT", b"DATA"][: len(lines)]
    assert len(lines) == (3 if pipelining else 2)
