"""Proxy addresses: ``http://user:pw@host:port`` or ``socks://user:pw@host:port`` (spec config.md 8.7).

Error texts never quote any part of the address, because a broken one does not say where its password ends.
"""

from __future__ import annotations

import re

from relayq.config.hosts import parse_host, parse_port, split_port
from relayq.config.percent import decode_part
from relayq.config.problems import BadValueError
from relayq.ports import ProxyAddress

PROXY_FORMS = "http://user:pw@host:port or socks://user:pw@host:port"

_DEFAULT_PORTS = {"http": 80, "socks": 1080}
_SCHEME = re.compile(r"([a-z][a-z0-9+]*)://", re.IGNORECASE)
_BLANK_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
_MOST_LOGIN_OCTETS = 255
"""RFC 1929: the lengths of name and password are an octet each, and neither is empty."""


def parse_proxy_address(text: str) -> ProxyAddress:
    """Parse the value of ``download-proxy`` and ``proxy-server``.

    Raises:
        BadValueError: It is none.
    """
    text = text.strip()
    match = _SCHEME.match(text)
    if match is None or match[1].lower() not in _DEFAULT_PORTS:
        raise BadValueError("does not start with a known scheme")
    rest = text[match.end() :].removesuffix("/")
    if not rest:
        raise BadValueError("has nothing behind its scheme")
    if _BLANK_OR_CONTROL.search(rest):
        raise BadValueError("contains a blank or a control character")
    scheme = match[1].lower()
    login, at, place = rest.rpartition("@")
    if any(mark in place for mark in "/?#"):
        raise BadValueError("has something behind host and port")
    username, password = _parse_login(scheme, login) if at else (None, None)
    host, port_text = split_port(place)
    port = parse_port(port_text) if port_text else _DEFAULT_PORTS[scheme]
    return ProxyAddress(scheme=scheme, host=parse_host(host), port=port, username=username, password=password)


def _parse_login(scheme: str, text: str) -> tuple[str, str]:
    name, _, secret = text.partition(":")
    username, password = decode_part(name, "user name"), decode_part(secret, "password")
    if scheme == "http" and ":" in username:  # RFC 7617 section 2: the first one ends the name
        raise BadValueError("has a colon in the user name")
    if not username:
        raise BadValueError("has a password without a user name")
    if scheme == "socks" and not all(0 < len(part.encode()) <= _MOST_LOGIN_OCTETS for part in (username, password)):
        raise BadValueError(f"has a user name or password that is not of 1 to {_MOST_LOGIN_OCTETS} octets")
    return username, password
