"""What the sessions of a sink share and report."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from relayq.trial.script import Counters, Script

if TYPE_CHECKING:
    from relayq.trial.session import SinkSession


class ReceivedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message whose content arrived completely.

    Attributes:
        content: Octets without dot-stuffing, ``None`` when contents are not kept or it was too large.
        size_bytes: Octets on the wire, dots included.
        sender: As given, empty for the null sender.
        recipients: Those accepted, in their order.
        sender_parameters: Of MAIL FROM, keywords in upper case.
        recipient_parameters: Of each RCPT TO.
        code: Of the reply to the content, 0 when the script gave none.
        client: IP address of the client.
        ehlo_name: Name it gave.
        user: Name it logged in with, ``None`` without login.
        is_tls: The connection was encrypted.
        ordinal: Which message of its connection this is, from 1.
    """

    content: bytes | None
    size_bytes: int
    sender: str
    recipients: tuple[str, ...]
    sender_parameters: Mapping[str, str | None]
    recipient_parameters: tuple[Mapping[str, str | None], ...]
    code: int
    client: str
    ehlo_name: str
    user: str | None
    is_tls: bool
    ordinal: int


@dataclass(slots=True)
class SinkCounters:
    """What happened so far.

    Attributes:
        connections: Accepted.
        messages: Contents answered with 2xx.
        octets: Of these messages, dots included.
    """

    connections: int = 0
    messages: int = 0
    octets: int = 0


@dataclass(slots=True, kw_only=True)
class SinkState:
    """What all sessions of a sink share.

    Attributes:
        script: What is not simply accepted.
        rng: Decides ``share=`` of scripts.
        tls: Server side context, ``None`` when STARTTLS is not offered.
        on_message: Called with each message.
        keep_content: Whether messages carry their content.
        max_message_octets: Larger ones are refused.
        greeting: Encoded reply to the connection.
        helo_reply: Encoded reply to HELO.
        ehlo_reply: Encoded reply to EHLO in clear.
        ehlo_reply_encrypted: The same after the handshake.
        counters: What happened so far.
        rule_counters: Memory of ``first=`` of scripts.
        sessions: Those open.
        tasks: Handshakes under way.
    """

    script: Script
    rng: random.Random
    tls: ssl.SSLContext | None
    on_message: Callable[[ReceivedMessage], None] | None
    keep_content: bool
    max_message_octets: int
    greeting: bytes
    helo_reply: bytes
    ehlo_reply: bytes
    ehlo_reply_encrypted: bytes
    counters: SinkCounters = field(default_factory=SinkCounters)
    rule_counters: Counters = field(default_factory=Counters)
    sessions: set[SinkSession] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
