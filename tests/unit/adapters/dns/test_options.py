"""Name servers and endpoints as text."""

from __future__ import annotations

import pytest

from relayq.adapters.dns.options import NameServer, make_name_server, parse_endpoint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", None)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("[192.0.2.1]", ("192.0.2.1", None)),
        ("2001:DB8::1", ("2001:db8::1", None)),
        ("[2001:db8::1]", ("2001:db8::1", None)),
        ("[2001:db8::1]:65535", ("2001:db8::1", 65535)),
    ],
)
def test_endpoints(text: str, expected: tuple[str, int | None]) -> None:
    assert parse_endpoint(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "mx.test", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:²", "192.0.2.1:-1", "[::1]x", "[::1", "[::1]53",
     "1.2.3", "192.0.2.1:x"],
)  # fmt: skip
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("text", "trust_ad", "is_trusted"),
    [
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("127.0.0.53", False, True),
        ("127.0.0.11", False, False),
        ("192.0.2.1", False, False),
        ("192.0.2.1", True, True),
    ],
)
def test_resolvers_whose_ad_flag_is_believed(text: str, trust_ad: bool, is_trusted: bool) -> None:
    assert make_name_server(text, trust_ad=trust_ad) == NameServer(text, 53, is_trusted)
