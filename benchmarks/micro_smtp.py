"""What the SMTP state machines cost per transaction, without any socket: ``python benchmarks/micro_smtp.py``.

One mail of 10 KB in memory, PIPELINING announced, octets handed over as they would arrive: the group of commands, its
three replies, the content, its reply. Prints microseconds, the best of several rounds.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

from relayq.model import DsnOptions, parse_address
from relayq.smtp import (
    Capabilities,
    Delivered,
    SmtpClient,
    SmtpServer,
    TlsMode,
    Transaction,
    encode_keywords,
    normalise_line_ends,
)
from relayq.smtp.data import stuff_dots
from relayq.smtp.server_events import DataRequested, MessageReceived

ROUNDS = 7
LOOPS = 2000
LINE = b"Ten kilobytes of lines of the usual length. Some of them. End with a dot.\r\n"
CONTENT = (LINE * 200)[:9998] + b"\r\n"
GROUP_REPLIES = b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"
CAPABILITIES = Capabilities(pipelining=True, size=True, size_limit=20_000_000, eight_bit_mime=True, dsn=True)


def main() -> None:
    """Print one line per case."""
    plain = Transaction(
        sender=parse_address("b@shop.example"), recipient=parse_address("anna@example.org"), content=CONTENT
    )
    with_dsn = Transaction(
        sender=plain.sender,
        recipient=plain.recipient,
        content=CONTENT,
        dsn=DsnOptions(notify=("FAILURE",), ret="HDRS", envid="order+42"),
    )
    report("client, transaction", client_case(plain))
    report("client, transaction with DSN parameters", client_case(with_dsn))
    report("server, transaction, content discarded", server_case(keep_content=False))
    report("server, transaction, content kept", server_case(keep_content=True))
    report("normalise_line_ends, clean", lambda: normalise_line_ends(CONTENT))
    bare = CONTENT.replace(b"\r\n", b"\n")
    report("normalise_line_ends, bare LF", lambda: normalise_line_ends(bare))
    report("stuff_dots, nothing to do", lambda: stuff_dots(CONTENT))


def report(name: str, case: Callable[[], object]) -> None:
    """Time ``case`` and print the best round."""
    best = min(timeit.repeat(case, number=LOOPS, repeat=ROUNDS)) / LOOPS * 1e6
    print(f"{name:42} {best:8.2f} µs")


def client_case(transaction: Transaction) -> Callable[[], None]:
    """One transaction on a session that stays open."""
    client = SmtpClient(ehlo_name="mta1.example.net", tls=TlsMode.OPPORTUNISTIC)
    client.receive_data(b"220 mx1.example.org ESMTP\r\n")
    client.data_to_send()
    lines = ("mx1.example.org", *encode_keywords(CAPABILITIES))
    client.receive_data("".join(f"250{'-' if line != lines[-1] else ' '}{line}\r\n" for line in lines).encode())
    client.next_event()
    count = 0

    def case() -> None:
        nonlocal count
        count += 1
        client.begin(transaction)
        client.data_to_send()
        client.receive_data(GROUP_REPLIES)
        client.data_to_send()
        client.receive_data(b"250 2.0.0 Ok: queued as %X\r\n" % count)
        assert type(client.next_event()) is Delivered
        assert client.next_event() is None

    return case


def server_case(*, keep_content: bool) -> Callable[[], None]:
    """The same as the receiving side sees it."""
    server = SmtpServer(keep_content=keep_content)
    server.next_event()
    server.reply(220, "mx1.example.org ESMTP")
    group = b"MAIL FROM:<b@shop.example> SIZE=10000\r\nRCPT TO:<anna@example.org>\r\nDATA\r\n"
    wire = CONTENT + b".\r\n"

    def case() -> None:
        server.receive_data(group)
        while (event := server.next_event()) is not None:
            if type(event) is DataRequested:
                server.reply(354, "End data with <CR><LF>.<CR><LF>")
            else:
                server.reply(250, "2.1.0 Ok")
        server.data_to_send()
        server.receive_data(wire)
        assert type(server.next_event()) is MessageReceived
        server.reply(250, "2.0.0 Ok")
        server.data_to_send()

    return case


if __name__ == "__main__":
    main()
