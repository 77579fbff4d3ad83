"""``x-mq-*`` headers: delivery options inside a message that cannot carry JSON (spec operations.md 18).

All of them leave the header, known or not. What they say becomes JSON properties, checked by the code that reads the
outbox, so a header can never make a message unusable: a bad one is dropped, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from relayq.model.message_json import InvalidMessageError, ParseRules, decode_members, parse_message
from relayq.model.values import as_bool, parse_ip

PREFIX: Final = "x-mq-"

_NEVER: Final = frozenset({"mime", "key", "recipient", "results", "dkim", "data", "seen"})
_QUEUES: Final = frozenset({"results-queue", "failure-queue", "success-queue", "retry-queue", "dsn-queue"})
_DSN: Final = frozenset({"dsn-notify", "dsn-ret", "dsn-orcpt", "dsn-envid"})
_SMARTHOST: Final = {
    "smarthost-hostname": "hostname",
    "smarthost-name": "hostname",
    "smarthost-port": "port",
    "smarthost-username": "username",
    "smarthost-password": "password",
}
_MAX_DIGITS: Final = 18
_MAX_HEADERS: Final = 1000
"""Further ones are dropped: the cost of repeated headers grows with the square of their number."""


@dataclass(slots=True)
class MqHeaders:
    """What the ``x-mq-*`` headers of a message say.

    Attributes:
        envelope: Text of ``x-mq-envelope``, not yet parsed; ``None`` when there is none.
        properties: JSON properties in the order of the headers.
        problems: One sentence per dropped header. Values are not repeated: one may be a password.
    """

    envelope: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_mq_headers(headers: Iterable[tuple[str, str]]) -> MqHeaders:
    """Interpret headers, given as (name in lower case, unfolded value) in their order."""
    found = MqHeaders()
    smarthost: dict[str, Any] = {}
    for number, (header, value) in enumerate(headers):
        if number == _MAX_HEADERS:
            found.problems.append(f"only the first {_MAX_HEADERS} headers {PREFIX}… count")
            break
        name = header.removeprefix(PREFIX)
        try:
            if name in _SMARTHOST:
                smarthost[_SMARTHOST[name]] = _integer(value) if name == "smarthost-port" else value
            elif name == "envelope":
                found.envelope = value
            else:
                _add(found.properties, name, value)
        except ValueError as error:
            found.problems.append(f"header {header} is dropped: {error}")
    if smarthost:
        try:
            _check("smarthost", smarthost)
            found.properties["smarthost"] = smarthost
        except ValueError as error:
            found.problems.append(f"headers {PREFIX}smarthost-… are dropped: {error}")
    return found


def _add(properties: dict[str, Any], name: str, value: str) -> None:
    """Add what one header says.

    Raises:
        ValueError: It is not usable; nothing was added.
    """
    if not name or name in _NEVER:
        raise ValueError("not taken from a header")
    if name == "ip":
        properties["ips"] = [*properties.get("ips", ()), *_addresses(value)]
    elif name == "tag":
        properties["tags"] = [*properties.get("tags", ()), value]
    elif name in _QUEUES:
        _add_member(properties, "queues", name.removesuffix("-queue"), value)
    elif name in _DSN:
        _add_member(properties, "dsn", name.removeprefix("dsn-"), value)
    elif (convert := _TYPED.get(name)) is not None:
        typed = convert(value)
        _check(name, typed)
        properties[name] = typed
    else:
        _add_custom(properties, name, value)


def _add_member(properties: dict[str, Any], name: str, member: str, value: str) -> None:
    """Put one member into an object, if it is usable there."""
    _check(name, {member: value})
    properties[name] = {**properties.get(name, {}), member: value}


def _add_custom(properties: dict[str, Any], name: str, value: str) -> None:
    """Add a string of any other name; a repeated one becomes an array."""
    earlier = properties.get(name)
    if earlier is None:
        combined: str | list[str] = value
    else:
        combined = [*earlier, value] if isinstance(earlier, list) else [earlier, value]
    # The name may be that of a known property for which a string is no value: then it would spoil the message.
    _check(name, combined)
    properties[name] = combined


def _check(name: str, value: object) -> None:
    """Ask the reader of the outbox whether a property is usable.

    Raises:
        ValueError: It is not, and why.
    """
    body = msgspec.json.encode({"recipient": "anybody@example.invalid", "mime": "x", name: value})
    try:
        parse_message(decode_members(body), ParseRules())
    except InvalidMessageError as error:
        raise ValueError(str(error)) from None


def _integer(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
        raise ValueError("expected a whole number")
    return int(value)


def _integers(value: str) -> list[int]:
    return [_integer(part.strip()) for part in value.split(",")]


def _addresses(value: str) -> list[str]:
    addresses = value.replace(",", " ").replace(";", " ").split()
    if not addresses or any(parse_ip(address) is None for address in addresses):
        raise ValueError("expected IP addresses")
    return addresses


def _text(value: str) -> str:
    return value


_TYPED: Final[dict[str, Callable[[str], Any]]] = {
    "pool": _text,
    "delayed": _text,
    "maxdelivertime": _text,
    "security": _text,
    "maxattempts": _integer,
    "priority": _integer,
    "retries": _integers,
    "inlinecss": as_bool,
    "keepmime": as_bool,
    "force": as_bool,
}
