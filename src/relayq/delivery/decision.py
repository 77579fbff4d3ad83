"""The outcome of an attempt in the form the journal keeps: enough to publish the same results after a restart."""

from __future__ import annotations

from datetime import datetime

import msgspec

from relayq.delivery.reporter import Trail
from relayq.model import Attempt, DeliveryError, Outcome, Reply, Scope
from relayq.model.errors import ERROR_BY_RESULT


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """What an attempt ended with and what that means.

    Attributes:
        outcome: What it means for the message.
        attempt: The entry of ``results``.
        seen_at: First due pick-up.
        next_at: Instant of the next attempt, for a retry.
        cause: Short name of a local cause.
        remote_mta: Name of the server that accepted it.
        announces_dsn: That server offers DSN.
    """

    outcome: Outcome
    attempt: Attempt
    seen_at: datetime
    next_at: datetime | None = None
    cause: str | None = None
    remote_mta: str | None = None
    announces_dsn: bool = False

    @property
    def error(self) -> DeliveryError | None:
        """What ended the attempt, as far as a report needs it; ``None`` for an accepted message."""
        attempt = self.attempt
        kind = ERROR_BY_RESULT.get(attempt.result)
        if kind is None:
            return None
        error = kind(attempt.state, Scope.MESSAGE, "decided before a restart", reply=self._reply(), cause=self.cause)
        error.egress_ip, error.remote_ip, error.ordinal = attempt.egress_ip, attempt.remote_ip, attempt.ordinal
        return error

    @property
    def trail(self) -> Trail:
        """What else a report can tell."""
        return Trail(reply=self._reply(), remote_mta=self.remote_mta, announces_dsn=self.announces_dsn)

    def _reply(self) -> Reply | None:
        attempt = self.attempt
        if attempt.code is None:
            return None
        return Reply(attempt.code, attempt.status, ((attempt.description or "").encode("utf-8", "replace"),))


encode_decision = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Decision).decode


def decode_decision(octets: bytes) -> Decision | None:
    """The decision, ``None`` when another version wrote it in a form unknown here."""
    try:
        return _decode(octets)
    except (msgspec.DecodeError, ValueError):
        return None
