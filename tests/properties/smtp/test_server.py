"""Whatever a client sends, and however it arrives: the server role stays within its contract."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relayq.smtp import SmtpServer
from relayq.smtp import server_events as events

lines = st.sampled_from(
    [
        b"EHLO mta.test\r\n", b"HELO mta.test\r\n", b"MAIL FROM:<a@b.test> SIZE=10\r\n", b"RCPT TO:<c@d.test>\r\n",
        b"DATA\r\n", b"x\r\n", b".\r\n", b"..\r\n", b"BDAT 3\r\nabc", b"BDAT 4 LAST\r\n\r\n.\r", b"RSET\r\n", b"NOOP\n",
        b"AUTH LOGIN\r\n", b"*\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"QUIT\r\n", b"\r\n", b"VRFY x\r\n",
    ]
)  # fmt: skip
streams = st.lists(st.one_of(lines, lines, st.binary(max_size=12)), max_size=25).map(b"".join)
CODES = {events.DataRequested: 354, events.AuthRequested: 334, events.AuthResponse: 235}


def run(stream: bytes, cuts: list[int], *, keep: bool) -> list[events.ServerEvent]:
    server = SmtpServer(keep_content=keep, max_message_octets=50)
    seen: list[events.ServerEvent] = []
    turn = 0
    while True:
        while (event := server.next_event()) is not None:
            seen.append(event)
            if isinstance(event, events.PeerClosed):
                return seen
            server.reply(CODES.get(type(event), 250), "ok")
        server.receive_data(stream[: cuts[turn % len(cuts)]])
        stream = stream[cuts[turn % len(cuts)] :]
        turn += 1


@given(stream=streams, cuts=st.lists(st.integers(1, 30), min_size=1, max_size=10), keep=st.booleans())
def test_any_split_of_any_octets_gives_the_same_events(stream: bytes, cuts: list[int], keep: bool) -> None:
    whole = run(stream, [max(len(stream), 1)], keep=keep)
    assert whole[0] == events.GreetingDue()
    assert whole[-1] == events.PeerClosed()
    assert run(stream, cuts, keep=keep) == whole
    assert run(stream, [1], keep=keep) == whole
