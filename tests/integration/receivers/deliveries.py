"""Sending one message and finding it in the mailbox it went to."""

from __future__ import annotations

from typing import Any, Protocol

from tests.integration.receivers.contents import compose, first_line
from tests.support.receivers.mailbox import await_stored, split_added
from tests.support.receivers.sender import Result, Sender

SMALL = "Hello\r\n"


class Receiver(Protocol):
    """What all servers have in common."""

    def messages(self) -> tuple[bytes, ...]:
        """Everything delivered."""
        ...


def deliver(sender: Sender, recipient: str, case: str, **members: Any) -> Result:
    """One small message that can be found by ``case``, and its first result."""
    return sender.send(**{"recipient": recipient, "mime": compose(case, SMALL), **members})


def arrived(server: Receiver, case: str) -> tuple[dict[str, str], bytes]:
    """Headers that the server has added to a message, by lower-case name, and the message as it is stored."""
    (stored,) = await_stored(server.messages, first_line(case).encode() + b"\n")
    return split_added(stored, first_line(case).encode())


def publish_hosts(sender: Sender, domain: str, addresses: dict[str, str]) -> None:
    """Let ``PLACE.DOMAIN`` have the mail host ``PLACE.mx.DOMAIN`` with the address given for the place."""
    for place, address in addresses.items():
        sender.add_records({
            (f"{place}.{domain}", "MX"): [f"10 {place}.mx.{domain}."],
            (f"{place}.mx.{domain}", "A"): [address],
        })  # fmt: skip
