"""Types of settings that name ports, hosts, networks and the addresses of other services."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace

from relayq.config.broker_address import BrokerAddress, EmbeddedAddress, parse_broker_addresses
from relayq.config.hosts import HIGHEST_PORT, parse_host, parse_mail_host, parse_port, split_port
from relayq.config.problems import BadValueError
from relayq.config.proxy_address import PROXY_FORMS, parse_proxy_address
from relayq.config.store_address import STORE_FORMS, parse_store_address
from relayq.config.value_types import ValueType, list_of
from relayq.ports import StoreAddress

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_SCHEME = re.compile(r"([a-z][a-z0-9+]*)://", re.IGNORECASE)
_BLANK_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


_DATABASE_SCHEMES = ("sqlite", "mysql", "postgresql", "postgres")
_AUTHENTICATION_SCHEMES = ("hardcoded", "file", "exec", "http", "https", "ldap", "ldaps", "radius", "users")


def port() -> ValueType:
    """Return the type of one port: ``int``."""
    return ValueType(
        name="port", expected=f"a port from 1 to {HIGHEST_PORT}", parse=lambda text: parse_port(text.strip())
    )


def ports() -> ValueType:
    """Return the type of listening ports: ``tuple[int, ...]`` in the order given, each once."""
    ranges = list_of(_port_range, "ports and ranges such as 25,2525,1024-1026")

    def parse(text: str) -> tuple[int, ...]:
        found: dict[int, None] = {}
        for item in _as_ranges(ranges.parse(text)):
            found.update(dict.fromkeys(item))
        return tuple(found)

    return replace(ranges, name="ports", parse=parse)


def _as_ranges(value: object) -> tuple[range, ...]:
    assert isinstance(value, tuple)
    return value


def _port_range(item: str) -> range:
    first, dash, last = item.partition("-")
    low = parse_port(first)
    high = parse_port(last) if dash else low
    if high < low:
        raise BadValueError("is a range that ends before it starts")
    return range(low, high + 1)


def ip_list() -> ValueType:
    """Return the type of a list of IP addresses: ``tuple[str, ...]``, each in canonical form."""
    return replace(list_of(_ip, "a list of IPv4 or IPv6 addresses"), name="ip list")


def ip_port_list(default_port: int) -> ValueType:
    """Return the type of a list of servers: ``tuple[tuple[str, int], ...]``, address and port."""

    def parse(item: str) -> tuple[str, int]:
        host, port_text = split_port(item)
        return _ip(_unbracket(host)), parse_port(port_text) if port_text else default_port

    expected = "a list of addresses such as 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:5353"
    return replace(list_of(parse, expected), name="ip:port list")


def networks() -> ValueType:
    """Return the type of a list of networks: ``tuple[IpNetwork, ...]``."""
    return replace(list_of(_network, "a list of IP addresses and networks such as 192.0.2.0/24"), name="cidr list")


def networks_with_ports() -> ValueType:
    """Return the type of a list of networks with optional port: ``tuple[tuple[IpNetwork, int | None], ...]``."""

    def parse(item: str) -> tuple[IpNetwork, int | None]:
        host, port_text = split_port(item)
        return _network(_unbracket(host)), parse_port(port_text) if port_text else None

    expected = "a list of networks with or without port such as 192.0.2.0/24:8080 or [2001:db8::/32]:8080"
    return replace(list_of(parse, expected), name="cidr:port list")


def _unbracket(host: str) -> str:
    return host[1:-1] if host.startswith("[") else host


def _ip(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise BadValueError("is no IP address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise BadValueError("has a zone")
    return str(address)


def _network(text: str) -> IpNetwork:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        if "host bits" in str(error):
            raise BadValueError("has bits set behind its prefix length") from None
        raise BadValueError("is no IP address or network") from None


def host_name() -> ValueType:
    """Return the type of names this host announces: ``str`` in lower-case A-labels, blank = ``None``."""
    return ValueType(
        name="host name", expected="a host name", parse=lambda text: parse_mail_host(text.strip()), empty=None
    )


def host(*, off: str = "", empty: object = None) -> ValueType:
    """Return the type of a server to connect to: ``str``; ``off`` is a text that means none, as blank does."""

    def parse(text: str) -> str | None:
        return None if off and text.strip() == off else parse_host(text.strip())

    return ValueType(name="host", expected="a host name or IP address", parse=parse, empty=empty)


def broker_addresses() -> ValueType:
    """Return the type of broker addresses: ``tuple[BrokerAddress, ...] | EmbeddedAddress``."""
    expected = "amqp://user:password@host:port/vhost, amqps://…, several separated by commas, or embedded:"
    return ValueType(name="address list", expected=expected, parse=parse_broker_addresses)


def cluster_addresses() -> ValueType:
    """Return the type of addresses of a broker shared by machines: ``tuple[BrokerAddress, ...]``, blank = ``None``."""

    def parse(text: str) -> tuple[BrokerAddress, ...]:
        value = parse_broker_addresses(text)
        if isinstance(value, EmbeddedAddress):
            raise BadValueError("is the embedded broker, which serves one machine only")
        return value

    expected = "amqp://user:password@host:port/vhost, amqps://…, several separated by commas"
    return ValueType(name="address list", expected=expected, parse=parse, empty=None)


def store_address() -> ValueType:
    """Return the type of store addresses: ``StoreAddress``, blank = ``None``."""
    return ValueType(name="store address", expected=f"one of {STORE_FORMS}", parse=parse_store_address, empty=None)


def database_address() -> ValueType:
    """Return the type of database addresses: ``StoreAddress`` of an engine that speaks SQL, blank = ``None``."""
    expected = "one of sqlite:///path/file, postgresql://user:pw@host/database, mysql://user:pw@host/database"

    def parse(text: str) -> StoreAddress:
        _scheme(text.strip(), _DATABASE_SCHEMES)
        return parse_store_address(text)

    return ValueType(name="database address", expected=expected, parse=parse, empty=None)


def proxy_address() -> ValueType:
    """Return the type of proxies: ``ProxyAddress``, blank = ``None``."""
    return ValueType(name="proxy address", expected=PROXY_FORMS, parse=parse_proxy_address, empty=None)


def authentication() -> ValueType:
    """Return the type of authentication strings (spec operations.md 16): ``str``, blank = ``None``."""
    forms = ", ".join(f"{scheme}://…" for scheme in _AUTHENTICATION_SCHEMES)
    return _url("authentication", _AUTHENTICATION_SCHEMES, f"one of {forms}")


def _url(name: str, schemes: tuple[str, ...], expected: str) -> ValueType:
    def parse(text: str) -> str:
        _scheme(text.strip(), schemes)
        return text.strip()

    return ValueType(name=name, expected=expected, parse=parse, empty=None)


def _scheme(text: str, allowed: tuple[str, ...]) -> str:
    match = _SCHEME.match(text)
    if match is None or match[1].lower() not in allowed:
        raise BadValueError("does not start with a known scheme")
    if match.end() == len(text):
        raise BadValueError("has nothing behind its scheme")
    if _BLANK_OR_CONTROL.search(text):
        raise BadValueError("contains a blank or a control character")
    return match[1].lower()
