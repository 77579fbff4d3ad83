"""The two ways a dialogue can break: we did something wrong, or they did."""

from __future__ import annotations


class LocalProtocolError(Exception):
    """A call that makes no sense now, or an argument that must not reach the wire: a bug on our side."""


class RemoteProtocolError(Exception):
    """The peer sent something that is not SMTP.

    Attributes:
        received: What it sent, cut to a bounded length.
    """

    def __init__(self, reason: str, received: bytes) -> None:
        super().__init__(reason)
        self.received = received
