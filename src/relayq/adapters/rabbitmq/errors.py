"""How a connection or a channel ends; none of these leaves this package."""

from __future__ import annotations

ACCESS_REFUSED = 403
NOT_FOUND = 404
RESOURCE_LOCKED = 405
PRECONDITION_FAILED = 406
NOT_ALLOWED = 530
INTERNAL_ERROR = 541


class ProtocolError(Exception):
    """The peer sent octets that are not AMQP 0-9-1, or not what may come now."""


class ConnectionLostError(Exception):
    """The connection ended, or could not be made. ``str()`` is for the log and contains no credentials.

    Attributes:
        code: Reply code of the broker's ``connection.close``, 0 when it sent none.
    """

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class ConnectionRefusedByBrokerError(ConnectionLostError):
    """Credentials, virtual host or certificate were not accepted: trying again will hardly help."""


class ChannelClosedError(Exception):
    """The broker closed one channel.

    Attributes:
        code: Its reply code, 0 when the connection ended.
        text: Its reply text.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
