from __future__ import annotations

import pytest

from relayq.config import BadValueError
from relayq.config.proxy_address import parse_proxy_address
from relayq.ports import ProxyAddress


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://proxy", ProxyAddress(scheme="http", host="proxy", port=80)),
        ("HTTP://proxy.example:3128/", ProxyAddress(scheme="http", host="proxy.example", port=3128)),
        ("socks://10.0.0.1", ProxyAddress(scheme="socks", host="10.0.0.1", port=1080)),
        ("socks://[::1]:9050", ProxyAddress(scheme="socks", host="::1", port=9050)),
        (
            "http://u:p%40/ss:@x@proxy:8080",
            ProxyAddress(scheme="http", host="proxy", port=8080, username="u", password="p@/ss:@x"),
        ),
        ("http://u@proxy", ProxyAddress(scheme="http", host="proxy", port=80, username="u", password="")),
        (
            "socks://Zo%C3%AB:p%3A@proxy",
            ProxyAddress(scheme="socks", host="proxy", port=1080, username="Zoë", password="p:"),
        ),
    ],
)
def test_addresses(text: str, expected: ProxyAddress) -> None:
    assert parse_proxy_address(text) == expected


@pytest.mark.parametrize(
    ("text", "predicate"),
    [
        ("proxy:3128", "does not start with a known scheme"),
        ("https://proxy", "does not start with a known scheme"),
        ("http://", "has nothing behind its scheme"),
        ("http:///", "has nothing behind its scheme"),
        ("http://pro xy", "contains a blank or a control character"),
        ("http://proxy/path", "has something behind host and port"),
        ("http://proxy?x", "has something behind host and port"),
        ("http://proxy:0", "is not a port between 1 and 65535"),
        ("http://proxy:x", "is not a port number"),
        ("http://pro!xy", "is neither a host name nor an IP address"),
        ("http://:secret@proxy", "has a password without a user name"),
        ("http://a%3Ab:secret@proxy", "has a colon in the user name"),
        ("http://u:%zz@proxy", "has a % without two hexadecimal digits in the password: write it as %25"),
        ("http://u:%0A@proxy", "has a control character in the password"),
        ("socks://u@proxy", "has a user name or password that is not of 1 to 255 octets"),
        (f"socks://u:{'p' * 256}@proxy", "has a user name or password that is not of 1 to 255 octets"),
    ],
)
def test_what_is_no_address_of_a_proxy(text: str, predicate: str) -> None:
    with pytest.raises(BadValueError) as caught:
        parse_proxy_address(text)
    assert caught.value.predicate == predicate


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(parse_proxy_address("http://u:secret@proxy"))
