"""From an error to the entry of ``results`` that tells of it (spec results.md 5.1)."""

from __future__ import annotations

from datetime import datetime

from relayq.model import Attempt, DeliveryError, DeliveryState, Scope, TimedOut, describe_octets
from relayq.policy.local_codes import local_code


def failed_attempt(
    error: DeliveryError,
    at: datetime,
    *,
    local_codes: bool = False,
    connect_ips: bool = False,
    number: int | None = None,
) -> Attempt:
    """The result entry of a failure; members as in spec results.md 5.1.

    Args:
        error: What ended the attempt.
        at: When.
        local_codes: Give a failure without a reply a code of our own.
        connect_ips: Name the addresses of a connection that was not established.
        number: Which attempt it is, for an extended result; ``None`` for a basic one.
    """
    code, status, description = None, None, None
    egress_ip, remote_ip = error.egress_ip, error.remote_ip
    if connect_ips and error.attempted is not None:
        egress_ip, remote_ip = error.attempted
    if error.reply is not None:
        code, status, description = error.reply.code, error.reply.status, error.reply.description
    elif error.received is not None:
        description = describe_octets(error.received)
    elif local_codes:
        code, status, description = local_code(error)
    return Attempt(
        state=error.state,
        result=error.result,
        at=at,
        egress_ip=egress_ip,
        remote_ip=remote_ip,
        ordinal=error.ordinal,
        code=code,
        status=status,
        description=description,
        extra=() if number is None else _extended(error, number),
    )


def _extended(error: DeliveryError, number: int) -> tuple[tuple[str, object], ...]:
    """Further members of the result of a failure (spec results.md 10)."""
    tried = () if error.was_tried else (("tried", False),)
    return (*error.details, ("attempt", number), *tried)


def expired(reason: str) -> DeliveryError:
    """``amqp/timeout``."""
    return TimedOut(DeliveryState.AMQP, Scope.MESSAGE, reason)
