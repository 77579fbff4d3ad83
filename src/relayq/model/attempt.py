"""What one try to deliver ended with, and what that means for the message."""

from __future__ import annotations

import enum
from datetime import datetime

import msgspec


class DeliveryState(enum.StrEnum):
    """Where in its life a message was when the attempt ended: the closed list of spec results.md 5."""

    AMQP = "amqp"
    STORAGE = "storage"
    RESPONSIVE = "responsive"
    DNS = "dns"
    BIND = "bind"
    CONNECT = "connect"
    INTRO = "intro"
    EHLO = "ehlo"
    HELO = "helo"
    STARTTLS = "starttls"
    AUTHPLAIN = "authplain"
    AUTHLOGIN = "authlogin"
    AUTHUSERNAME = "authusername"
    AUTHPASSWORD = "authpassword"
    AUTHCRAM = "authcram"
    AUTHRESPONSE = "authresponse"
    MAILFROM = "mailfrom"
    RCPTTO = "rcptto"
    DATA = "data"
    MESSAGE = "message"


class ResultType(enum.StrEnum):
    """How an attempt ended (spec results.md 5)."""

    ACCEPTED = "accepted"
    ERROR = "error"
    TIMEOUT = "timeout"
    LOST = "lost"
    INVALID = "invalid"


class Outcome(enum.StrEnum):
    """What an attempt means for the message: which queues it goes to (spec results.md 3)."""

    SUCCESS = "success"
    FAILURE = "failure"
    RETRY = "retry"


class Attempt(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One entry of the JSON array ``results`` (spec results.md 2).

    Attributes:
        at: Aware UTC instant at which the outcome was known.
        egress_ip: Local address of the connection, ``None`` if none was established.
        remote_ip: Remote address of the connection, ``None`` if none was established.
        ordinal: How many messages the connection has been used for, this one included; ``None`` without a connection.
        code: Reply code that led to the result.
        status: Enhanced status, given exactly when ``code`` is.
        description: What the peer said, ``None`` if it said nothing that led to the result.
        extra: Further members of the result object in order, already JSON values (spec results.md 10).
        possible_duplicate: The message may have been accepted by a server before, in an attempt without a result.
    """

    state: DeliveryState
    result: ResultType
    at: datetime
    egress_ip: str | None = None
    remote_ip: str | None = None
    ordinal: int | None = None
    code: int | None = None
    status: str | None = None
    description: str | None = None
    extra: tuple[tuple[str, object], ...] = ()
    possible_duplicate: bool = False
