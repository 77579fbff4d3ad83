"""The vocabulary: frozen records, enums and errors. Layer 1: standard library, msgspec and idna only."""

from relayq.model.address import EmailAddress, InvalidAddressError, parse_address, parse_domain
from relayq.model.attempt import Attempt, DeliveryState, Outcome, ResultType
from relayq.model.errors import ConnectionLost, DeliveryError, Refused, Scope, TimedOut, Unusable
from relayq.model.message import DsnOptions, Message, ResultQueues, Smarthost
from relayq.model.reply import Reply, describe_octets
from relayq.model.tlsa import TlsaRecord

__all__ = [
    "Attempt",
    "ConnectionLost",
    "DeliveryError",
    "DeliveryState",
    "DsnOptions",
    "EmailAddress",
    "InvalidAddressError",
    "Message",
    "Outcome",
    "Refused",
    "Reply",
    "ResultQueues",
    "ResultType",
    "Scope",
    "Smarthost",
    "TimedOut",
    "TlsaRecord",
    "Unusable",
    "describe_octets",
    "parse_address",
    "parse_domain",
]
