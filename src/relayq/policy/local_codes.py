"""Reply codes for failures that no server reported (spec results.md 9).

Used in results only with ``result-local-codes``; by default a local failure carries no code.
"""

from __future__ import annotations

from relayq.model import DeliveryError, DeliveryState, ResultType
from relayq.policy.retry import AUTH_STATES

_S = DeliveryState
_R = ResultType

LocalCode = tuple[int, str, str]
"""Code, enhanced status, description."""

_BY_CAUSE: dict[str, LocalCode] = {
    "recipient": (553, "5.1.3", "recipient address not usable"),
    "envelope": (553, "5.1.7", "sender address not usable"),
    "nxdomain": (550, "5.1.2", "domain does not exist"),
    "noaddress": (550, "5.4.4", "no mail host has an address"),
    "nullmx": (556, "5.1.10", "domain accepts no mail"),
    "loop": (554, "5.4.6", "mail would loop back to this host"),
    "starttls-missing": (451, "4.7.10", "TLS is required but not offered"),
    "tls-failed": (451, "4.7.5", "TLS failed"),
    "smtputf8-missing": (553, "5.6.7", "server takes no international addresses"),
}

_BY_STATE: dict[tuple[DeliveryState, ResultType], LocalCode] = {
    (_S.AMQP, _R.INVALID): (554, "5.6.0", "message description is not usable"),
    (_S.AMQP, _R.TIMEOUT): (554, "4.4.7", "delivery time or attempts used up"),
    (_S.STORAGE, _R.ERROR): (554, "5.6.0", "message content not found"),
    (_S.STORAGE, _R.TIMEOUT): (451, "4.3.0", "message store not available"),
    (_S.STORAGE, _R.LOST): (451, "4.4.2", "connection lost while loading the content"),
    (_S.RESPONSIVE, _R.ERROR): (554, "5.6.5", "message could not be composed"),
    (_S.RESPONSIVE, _R.TIMEOUT): (451, "4.6.5", "part of the message did not arrive in time"),
    (_S.DNS, _R.ERROR): (550, "5.1.2", "domain does not exist"),
    (_S.DNS, _R.TIMEOUT): (451, "4.4.3", "name lookup failed"),
    (_S.DNS, _R.INVALID): (451, "4.4.3", "name lookup failed"),
    (_S.BIND, _R.ERROR): (554, "5.3.5", "no usable local address"),
    (_S.CONNECT, _R.TIMEOUT): (451, "4.4.1", "no answer from the host"),
    (_S.CONNECT, _R.ERROR): (451, "4.4.1", "no answer from the host"),
    (_S.INTRO, _R.TIMEOUT): (451, "4.4.1", "no answer from the host"),
    **dict.fromkeys(((state, _R.ERROR) for state in AUTH_STATES), (451, "4.7.8", "cannot authenticate")),
    (_S.STARTTLS, _R.ERROR): (451, "4.7.5", "TLS failed"),
}

_BY_RESULT: dict[ResultType, LocalCode] = {
    _R.LOST: (451, "4.4.2", "connection lost"),
    _R.TIMEOUT: (451, "4.4.2", "no reply in time"),
    _R.INVALID: (451, "4.5.0", "reply not understood"),
    _R.ERROR: (554, "5.0.0", "delivery failed"),
}


def local_code(error: DeliveryError) -> LocalCode:
    """Code, enhanced status and text of our own for an error without a reply."""
    if error.cause is not None and error.cause in _BY_CAUSE:
        return _BY_CAUSE[error.cause]
    return _BY_STATE.get((error.state, error.result)) or _BY_RESULT[error.result]
