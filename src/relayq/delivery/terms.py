"""What a session has to offer before it may carry a message: protection and login (spec delivery.md 6, 10, 11)."""

from __future__ import annotations

import functools

import msgspec

from relayq.model import Message, Smarthost
from relayq.policy.routing import Candidate, Target, TargetKind
from relayq.policy.tls import SecurityLevel, TlsDemand, choose_level, demand_tls
from relayq.smtp import Credentials


class Sink(msgspec.Struct, frozen=True, kw_only=True):
    """The server every connection goes to instead, for trials (``smtp-sink-…``).

    Attributes:
        address: Its name or IP address.
        port: Its port.
        credentials: Login there, ``None`` for none.
    """

    address: str
    port: int
    credentials: Credentials | None = None


class SessionTerms:
    """Decides about protection and login, per message and candidate."""

    def __init__(self, level: SecurityLevel, sink: Sink | None = None) -> None:
        """Keep the settings.

        Args:
            level: ``smtp-out-security``.
            sink: Gets every connection, with its own login and without demands.
        """
        self._level = level
        self._sink = sink

    def credentials(self, target: Target) -> Credentials | None:
        """Login of a message: that of its smarthost, which no other server ever gets to see."""
        if self._sink is not None:
            return self._sink.credentials
        return None if target.smarthost is None else _login(target.smarthost)

    def demand(self, message: Message, target: Target, candidate: Candidate) -> TlsDemand:
        """What a session to a candidate has to show for a message."""
        level = choose_level(message.security, self._level)
        if self._sink is not None:
            return demand_tls(min(level, SecurityLevel.OPPORTUNISTIC), self._sink.address, None)
        domain = target.name if target.kind is TargetKind.DOMAIN else None
        return demand_tls(level, candidate.host, domain)


@functools.lru_cache(maxsize=1024)
def _login(smarthost: Smarthost) -> Credentials | None:
    if smarthost.username is None:
        return None
    return Credentials(smarthost.username, smarthost.password or "")
