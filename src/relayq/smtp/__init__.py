"""SMTP without I/O, both roles: octets in, events out; calls in, octets out. Layer 2."""

from relayq.smtp import server_events
from relayq.smtp.auth import Credentials
from relayq.smtp.capabilities import NO_CAPABILITIES, Capabilities
from relayq.smtp.client import SmtpClient
from relayq.smtp.commands import Transaction
from relayq.smtp.data import (
    SLICE_OCTETS,
    Normalised,
    final_size,
    normalise_line_ends,
    normalised_parts,
    normalised_slices,
)
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
from relayq.smtp.opening import TlsMode
from relayq.smtp.server import SmtpServer, encode_keywords, encode_reply

__all__ = [
    "NO_CAPABILITIES",
    "SLICE_OCTETS",
    "Broken",
    "Capabilities",
    "Closed",
    "Credentials",
    "Delivered",
    "Event",
    "LocalProtocolError",
    "Normalised",
    "Ready",
    "RecipientAccepted",
    "Refused",
    "RemoteProtocolError",
    "SmtpClient",
    "SmtpServer",
    "StartTls",
    "TlsMode",
    "Transaction",
    "encode_keywords",
    "encode_reply",
    "final_size",
    "normalise_line_ends",
    "normalised_parts",
    "normalised_slices",
    "server_events",
]
