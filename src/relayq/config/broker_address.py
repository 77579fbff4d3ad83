"""Broker addresses: ``amqp://user:pw@host1;host2/vhost``, several of them, or ``embedded:`` (spec amqp.md 1 and 20).

Not parsed with ``urllib.parse.urlsplit``: a password may contain ``#`` and ``?``, and hosts are separated by ``;``.
Error texts never quote any part of the address, because a broken one does not say where its password ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from relayq.config.hosts import DIGITS, parse_host, parse_port, split_port
from relayq.config.percent import decode_part
from relayq.config.problems import MASK, BadValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ADDRESS = "amqp://guest:guest@localhost/"

_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}
_OPTIONS = ("heartbeat", "connection_timeout", "cacertfile", "certfile", "keyfile", "server_name_indication")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# AMQP 0-9-1: a virtual host is a short string, the heartbeat a 16 bit field of connection.tune.
_MAX_VHOST_OCTETS = 255
_MAX_HEARTBEAT = 65535
_MAX_CONNECTION_TIMEOUT_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """The part of a broker address after the question mark; ``None`` = not given.

    Attributes:
        heartbeat: Seconds, 0 = none.
        connection_timeout: Seconds (milliseconds in the address).
        cacertfile: Absolute path of the trusted certificates.
        certfile: Absolute path of the client's certificate, only together with ``keyfile``.
        keyfile: Absolute path of the client's key.
        server_name_indication: Name to ask for and to check in TLS instead of the host.
    """

    heartbeat: int | None = None
    connection_timeout: float | None = None
    cacertfile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    server_name_indication: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """One address of a RabbitMQ broker or of members of its cluster.

    Attributes:
        hosts: ``(host, port)`` in the order of the address, at least one; IPv6 without brackets.
        user: Login name, percent-decoded.
        password: Percent-decoded; never shown.
        vhost: Virtual host, percent-decoded; ``/`` when the address names none.
        tls: The scheme was ``amqps``.
        options: What stood after the question mark.
    """

    hosts: tuple[tuple[str, int], ...]
    user: str
    password: str = field(repr=False)
    vhost: str
    tls: bool
    options: BrokerOptions = field(default_factory=BrokerOptions)

    def __str__(self) -> str:
        """Return the address for logs and reports: password masked, options left out."""
        hosts = ";".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        vhost = "" if self.vhost == "/" else quote(self.vhost, safe="")
        return f"amqp{'s' if self.tls else ''}://{quote(self.user, safe='')}:{MASK}@{hosts}/{vhost}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedAddress:
    """The embedded broker instead of RabbitMQ; ``path`` is absolute, ``None`` = the usual place (spec amqp.md 20)."""

    path: str | None = None

    def __str__(self) -> str:
        """Return the address as one writes it."""
        return "embedded:" if self.path is None else f"embedded://{self.path}"


def parse_broker_addresses(text: str) -> tuple[BrokerAddress, ...] | EmbeddedAddress:
    """Parse the value of ``rabbitmq-address``; empty text is the default address.

    Raises:
        BadValueError: Not an address list, or the embedded broker next to another address.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    parsed = [_parse_item(item) for item in items or [DEFAULT_ADDRESS]]
    if len(parsed) == 1 and isinstance(parsed[0], EmbeddedAddress):
        return parsed[0]
    addresses = tuple(item for item in parsed if isinstance(item, BrokerAddress))
    if len(addresses) != len(parsed):
        raise BadValueError("has the embedded broker next to another address")
    return addresses


def _parse_item(text: str) -> BrokerAddress | EmbeddedAddress:
    if _CONTROL.search(text):
        raise BadValueError("contains a control character")
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "embedded":
        return _parse_embedded(rest)
    if scheme not in _DEFAULT_PORTS or not rest.startswith("//"):
        raise BadValueError("has a part that does not start with amqp://, amqps:// or embedded:")
    return _parse_amqp(rest[2:], scheme)


def _parse_embedded(rest: str) -> EmbeddedAddress:
    if not rest:
        return EmbeddedAddress()
    if not rest.startswith("///") or rest.endswith("/"):
        raise BadValueError("is neither embedded: nor embedded:///absolute/path/of/a/file")
    return EmbeddedAddress(path=rest[2:])


def _parse_amqp(rest: str, scheme: str) -> BrokerAddress:
    credentials, at, location = rest.rpartition("@")
    if "/" in credentials:
        raise BadValueError("has a / before an @: write %2F in a password, %40 for an @ behind the host")
    location, _, query = location.partition("?")
    authority, _, path = location.partition("/")
    user, password = _parse_credentials(credentials) if at else ("guest", "guest")
    return BrokerAddress(
        hosts=tuple(_parse_host(host.strip(), _DEFAULT_PORTS[scheme]) for host in authority.split(";")),
        user=user,
        password=password,
        vhost=_parse_vhost(path),
        tls=scheme == "amqps",
        options=_parse_options(query),
    )


def _parse_credentials(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    if not user and not password:
        return "guest", "guest"
    return decode_part(user, "user name"), decode_part(password, "password")


def _parse_host(text: str, default_port: int) -> tuple[str, int]:
    if not text.startswith("[") and text.count(":") > 1:
        raise BadValueError("has a host with several colons: write an IPv6 address in brackets")
    try:
        host, port_text = split_port(text)
        port = parse_port(port_text) if port_text else default_port
        return parse_host(host) if host else "localhost", port
    except BadValueError as error:
        raise BadValueError(f"has a host or port that {error}") from None


def _parse_vhost(path: str) -> str:
    if "/" in path:
        raise BadValueError("has more than one path segment: write a / inside the virtual host as %2F")
    # The AMQP URI rules make a trailing slash the empty virtual host; here it means "/" (spec amqp.md 1).
    vhost = decode_part(path, "virtual host") or "/"
    if len(vhost.encode("utf-8")) > _MAX_VHOST_OCTETS:
        raise BadValueError(f"has a virtual host of more than {_MAX_VHOST_OCTETS} bytes")
    return vhost


def _parse_options(query: str) -> BrokerOptions:
    texts: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, text = pair.partition("=")
        if name not in _OPTIONS:
            raise BadValueError(f"has an unknown option behind the ?, allowed are {', '.join(_OPTIONS)}")
        texts[name] = decode_part(text, f"option {name}")
    timeout_ms = _number_option(texts, "connection_timeout", 1, _MAX_CONNECTION_TIMEOUT_MS)
    options = BrokerOptions(
        heartbeat=_number_option(texts, "heartbeat", 0, _MAX_HEARTBEAT),
        connection_timeout=None if timeout_ms is None else timeout_ms / 1000,
        cacertfile=_path_option(texts, "cacertfile"),
        certfile=_path_option(texts, "certfile"),
        keyfile=_path_option(texts, "keyfile"),
        server_name_indication=_host_option(texts, "server_name_indication"),
    )
    if (options.certfile is None) != (options.keyfile is None):
        raise BadValueError("has only one of the options certfile and keyfile")
    return options


def _number_option(texts: Mapping[str, str], name: str, lowest: int, highest: int) -> int | None:
    text = texts.get(name)
    if text is None:
        return None
    if not DIGITS.fullmatch(text) or not lowest <= int(text) <= highest:
        raise BadValueError(f"has an option {name} outside {lowest}-{highest}")
    return int(text)


def _path_option(texts: Mapping[str, str], name: str) -> str | None:
    path = texts.get(name)
    if path is not None and not path.startswith("/"):
        raise BadValueError(f"has an option {name} that is no absolute path")
    return path


def _host_option(texts: Mapping[str, str], name: str) -> str | None:
    text = texts.get(name)
    try:
        return None if text is None else parse_host(text)
    except BadValueError as error:
        raise BadValueError(f"has an option {name} that {error}") from None
