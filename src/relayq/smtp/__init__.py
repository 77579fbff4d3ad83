"""SMTP without I/O, both roles: octets in, events out; calls in, octets out. Layer 2."""

from relayq.smtp.auth import Credentials
from relayq.smtp.capabilities import NO_CAPABILITIES, Capabilities
from relayq.smtp.client import SmtpClient, TlsMode
from relayq.smtp.commands import Transaction
from relayq.smtp.data import final_size, normalise_line_ends
from relayq.smtp.errors import LocalProtocolError, RemoteProtocolError
from relayq.smtp.events import (
    Broken,
    Closed,
    Delivered,
    Event,
    Ready,
    RecipientAccepted,
    Refused,
    StartTls,
)

__all__ = [
    "NO_CAPABILITIES",
    "Broken",
    "Capabilities",
    "Closed",
    "Credentials",
    "Delivered",
    "Event",
    "LocalProtocolError",
    "Ready",
    "RecipientAccepted",
    "Refused",
    "RemoteProtocolError",
    "SmtpClient",
    "StartTls",
    "TlsMode",
    "Transaction",
    "final_size",
    "normalise_line_ends",
]
