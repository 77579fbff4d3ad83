"""The client against the server role in memory: what goes in comes out, octet by octet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relayq.model import DsnOptions, parse_address
from relayq.smtp import (
    SLICE_OCTETS,
    Capabilities,
    Credentials,
    Delivered,
    Ready,
    RecipientAccepted,
    SmtpClient,
    SmtpServer,
    StartTls,
    TlsMode,
    Transaction,
    encode_keywords,
    normalise_line_ends,
    server_events,
)
from relayq.smtp.data import stuff_dots, unstuff_dots

contents = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"x", b"\0", b"QUIT"]), max_size=30).map(b"".join),
).map(normalise_line_ends)
capabilities = st.builds(
    Capabilities,
    pipelining=st.booleans(),
    size=st.booleans(),
    size_limit=st.sampled_from([None, 10, 10_000]),
    eight_bit_mime=st.booleans(),
    smtputf8=st.booleans(),
    starttls=st.booleans(),
    dsn=st.booleans(),
    chunking=st.booleans(),
    auth=st.sets(st.sampled_from(["PLAIN", "LOGIN", "CRAM-MD5"])).map(frozenset),
)


class Peer:
    """A server that agrees to everything."""

    def __init__(self, announced: Capabilities) -> None:
        self.server = SmtpServer()
        self.contents: list[bytes | None] = []
        self.recipients: list[str] = []
        self._announced = announced
        self._logins = 0

    def receive(self, octets: bytes) -> None:
        if octets:
            self.server.receive_data(octets)
        while (event := self.server.next_event()) is not None:
            self._answer(event)

    def _answer(self, event: server_events.ServerEvent) -> None:
        match event:
            case server_events.Ehlo():
                self.server.reply(250, "mx.test", *encode_keywords(self._announced))
            case server_events.AuthRequested(mechanism="PLAIN"):
                self.server.reply(235, "welcome")
            case server_events.AuthRequested(mechanism=mechanism):
                self._logins = 1 if mechanism == "CRAM-MD5" else 2
                self.server.reply(334, "PDQ3MTE=")
            case server_events.AuthResponse():
                self._logins -= 1
                self.server.reply(334 if self._logins else 235, "x")
            case server_events.DataRequested():
                self.server.reply(354, "go")
            case _:
                if isinstance(event, server_events.MessageReceived):
                    self.contents.append(event.content)
                if isinstance(event, server_events.RcptTo):
                    self.recipients.append(event.address)
                self.server.reply(250, "ok")


def run(client: SmtpClient, peer: Peer, waiting: list[tuple[Transaction, bytes]], cut: int) -> int:
    """Deliver all of ``waiting``; returns how many were accepted."""
    delivered = 0
    lazy = b""
    for _ in range(200):
        while (event := client.next_event()) is not None:
            assert isinstance(event, Ready | StartTls | RecipientAccepted | Delivered)
            delivered += isinstance(event, Delivered)
            if isinstance(event, StartTls):
                client.tls_established()
                peer.server.tls_established()
            elif isinstance(event, RecipientAccepted):
                client.provide_content(lazy)
            elif waiting:
                transaction, lazy = waiting.pop(0)
                client.begin(transaction)
            else:
                return delivered
        octets = client.data_to_send()
        for start in range(0, len(octets) or 1, cut):
            peer.receive(octets[start : start + cut])
        answer = peer.server.data_to_send()
        for start in range(0, len(answer), cut):
            client.receive_data(answer[start : start + cut])
    raise AssertionError("the dialogue does not end")


@given(
    announced=capabilities,
    tls=st.sampled_from([TlsMode.FORBIDDEN, TlsMode.NEVER, TlsMode.OPPORTUNISTIC, TlsMode.IMMEDIATE]),
    mails=st.lists(st.tuples(contents, st.booleans()), min_size=1, max_size=3),
    bdat=st.booleans(),
    cut=st.sampled_from([1, 3, 50, 100_000]),
    log_in=st.booleans(),
)
def test_content_arrives_as_it_was(
    announced: Capabilities, tls: TlsMode, mails: list[tuple[bytes, bool]], bdat: bool, cut: int, log_in: bool
) -> None:
    client = SmtpClient(
        ehlo_name="mta1.example.net",
        tls=tls,
        credentials=Credentials("relay-user", "s3cret-pass") if log_in and announced.auth else None,
        allow_clear_auth=True,
        use_bdat=bdat,
    )
    peer = Peer(announced)
    waiting = [
        (
            Transaction(
                sender=parse_address("b@shop.example"),
                recipient=parse_address(f"anna{number}@example.org"),
                content=None if is_lazy else content,
                has_8bit=not content.isascii(),
                dsn=DsnOptions(notify=("FAILURE",), envid="a b"),
            ),
            content,
        )
        for number, (content, is_lazy) in enumerate(mails)
    ]
    assert run(client, peer, waiting, cut) == len(mails)
    assert peer.contents == [content for content, _ in mails]


@given(contents)
def test_stuffing_can_be_undone_and_hides_every_end(content: bytes) -> None:
    stuffed = stuff_dots(content)
    assert unstuff_dots(stuffed) == content
    assert b"\r\n.\r\n" not in b"\r\n" + stuffed


@given(st.binary(max_size=300), st.sampled_from([b"", b"y" * (SLICE_OCTETS - 5)]))
def test_normalised_content_has_no_other_line_end(mime: bytes, padding: bytes) -> None:
    normal = normalise_line_ends(padding + mime)
    assert normal.endswith(b"\r\n")
    assert normal.count(b"\r\n") == normal.count(b"\r") == normal.count(b"\n")
    assert normalise_line_ends(normal) == normal
    unify = bytes.maketrans(b"\r", b"\n")
    assert normal.translate(None, b"\r\n") == (padding + mime).translate(None, b"\r\n")
    assert len(normal.translate(unify)) >= len(mime)
