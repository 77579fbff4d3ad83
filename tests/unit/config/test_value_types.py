from __future__ import annotations

import ipaddress

import pytest

from relayq.config import name_types as names
from relayq.config import network_types as net
from relayq.config import value_types as values
from relayq.config.broker_address import parse_broker_addresses
from relayq.config.problems import BadValueError
from relayq.config.value_types import ValueType
from relayq.ports import ProxyAddress, StoreAddress

V4 = ipaddress.IPv4Network
V6 = ipaddress.IPv6Network


@pytest.mark.parametrize(
    ("value_type", "text", "value"),
    [
        (values.boolean(), "true", True),
        (values.boolean(), "Yes", True),
        (values.boolean(), "ON", True),
        (values.boolean(), "1", True),
        (values.boolean(), "False", False),
        (values.boolean(), "no", False),
        (values.boolean(), "off", False),
        (values.boolean(), " 0 ", False),
        (values.integer(), "0", 0),
        (values.integer(1, 64), "64", 64),
        (values.integer(1, 64), " 007 ", 7),
        (values.integer(-5, 5), "-5", -5),
        (values.seconds(), "90", 90.0),
        (values.seconds(), "2.5", 2.5),
        (values.seconds(), "90s", 90.0),
        (values.seconds(), "1.5m", 90.0),
        (values.seconds(), "2H", 7200.0),
        (values.seconds(), "3650d", 315_360_000.0),
        (values.seconds(10, 3600), "1h", 3600.0),
        (values.timeout(), "0.001", 0.001),
        (values.milliseconds(), "5000", 5.0),
        (values.milliseconds(), "0", 0.0),
        (values.milliseconds(), "5s", 5.0),
        (values.durations(), "600,600;1800 1h", (600.0, 600.0, 1800.0, 3600.0)),
        (values.size(), "0", 0),
        (values.size(), "100MB", 100 * 1024**2),
        (values.size(), "100 mib", 100 * 1024**2),
        (values.size(), "2k", 2048),
        (values.size(), "1GiB", 1024**3),
        (values.one_of("strict", "loose"), "LOOSE", "loose"),
        (values.one_of("FULL", "HDRS"), " hdrs ", "HDRS"),
        (values.words("spf", "dkim"), "DKIM; spf,,", ("dkim", "spf")),
        (names.notify_words(), "success failure", ("SUCCESS", "FAILURE")),
        (names.notify_words(), "never", ("NEVER",)),
        (names.string(), " as it is ", " as it is "),
        (names.strings(), "subject,x-header", ("subject", "x-header")),
        (names.queue(), "résultats", "résultats"),
        (names.queue(), "q" * 255, "q" * 255),
        (names.exchange(), "amq.direct", "amq.direct"),
        (names.path(), "/var/log/a file", "/var/log/a file"),
        (names.log_targets(), "Stderr, /var/log/x syslog", ("stderr", "/var/log/x", "syslog")),
        (names.server_id(), "mta_1-A", "mta_1-A"),
        (names.account(), "relayq:mail", "relayq:mail"),
        (names.mail_address(), "postmaster@example.test", "postmaster@example.test"),
        (net.port(), "65535", 65535),
        (net.ports(), "25,2525;1024-1026 25", (25, 2525, 1024, 1025, 1026)),
        (net.ip_list(), "192.0.2.1;2001:DB8:0::1", ("192.0.2.1", "2001:db8::1")),
        (
            net.ip_port_list(53),
            "192.0.2.1 192.0.2.2:5353 2001:db8::1 [2001:db8::2] [2001:db8::3]:54",
            (("192.0.2.1", 53), ("192.0.2.2", 5353), ("2001:db8::1", 53), ("2001:db8::2", 53), ("2001:db8::3", 54)),
        ),
        (net.networks(), "192.0.2.0/24,2001:db8::1", (V4("192.0.2.0/24"), V6("2001:db8::1/128"))),
        (
            net.networks_with_ports(),
            "10.0.0.0/8:8080 10.1.0.0/16 [fe80::/10]:80 ::1",
            ((V4("10.0.0.0/8"), 8080), (V4("10.1.0.0/16"), None), (V6("fe80::/10"), 80), (V6("::1/128"), None)),
        ),
        (net.host_name(), "MTA.Bücher.example", "mta.xn--bcher-kva.example"),
        (net.host(), "my_container", "my_container"),
        (net.host(), "192.0.2.1", "192.0.2.1"),
        (net.host(), "[2001:DB8::1]", "2001:db8::1"),
        (net.host(), "2001:db8::1", "2001:db8::1"),
        (net.host(off="0.0.0.0"), "0.0.0.0", None),
        (net.store_address(), "DIR:///var/mail", StoreAddress(engine="directory", scheme="dir", path="/var/mail")),
        (net.database_address(), "sqlite:///d", StoreAddress(engine="sqlite", scheme="sqlite", path="/d")),
        (net.proxy_address(), "socks://proxy:81", ProxyAddress(scheme="socks", host="proxy", port=81)),
        (net.authentication(), "hardcoded://a:b", "hardcoded://a:b"),
        (net.cluster_addresses(), "amqp://h", parse_broker_addresses("amqp://h")),
    ],
)
def test_accepted(value_type: ValueType, text: str, value: object) -> None:
    parsed = value_type.parse(text)

    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("value_type", "text", "predicate"),
    [
        (values.boolean(), "2", "is neither true nor false"),
        (values.boolean(), "ja", "is neither true nor false"),
        (values.integer(), "1.5", "is not a whole number"),
        (values.integer(), "٣", "is not a whole number"),
        (values.integer(), "1_000", "is not a whole number"),
        (values.integer(), "9" * 5000, "is not a whole number"),
        (values.integer(), "-1", "is outside 0 to 2147483647"),
        (values.integer(), "2147483648", "is outside 0 to 2147483647"),
        (values.integer(1, 64), "0", "is outside 1 to 64"),
        (values.integer(1, 64), "65", "is outside 1 to 64"),
        (values.seconds(), "-1", "is not a duration"),
        (values.seconds(), "1w", "is not a duration"),
        (values.seconds(), "1e3", "is not a duration"),
        (values.seconds(), ".5", "is not a duration"),
        (values.seconds(), "nan", "is not a duration"),
        (values.seconds(), "5ſ", "is not a duration"),
        (values.seconds(), "3651d", "is above 3.1536e+08 seconds"),
        (values.seconds(10, 3600), "9.9", "is below 10 seconds"),
        (values.seconds(10, 3600), "61m", "is above 3600 seconds"),
        (values.timeout(), "0", "is below 0.001 seconds"),
        (values.durations(), "600,0", "is below 1 seconds"),
        (values.durations(), ",;", "has no item"),
        (values.size(), "1.5G", "is not a size"),
        (values.size(), "-1", "is not a size"),
        (values.size(), "10B", "is not a size"),
        (values.size(), "10T", "is not a size"),
        (values.size(), "9999999G", "is above 2^50 bytes"),
        (values.one_of("strict", "loose"), "lax", "is not one of the words allowed"),
        (values.words("spf", "dkim"), "spf,dane", "is not one of the words allowed"),
        (names.notify_words(), "NEVER FAILURE", "has NEVER next to other words"),
        (names.string(), "a\rb", "contains a control character"),
        (names.strings(), "a\x00b", "contains a control character"),
        (names.queue(), "amq.gen-1", "starts with amq., which belongs to the broker"),
        (names.queue(), "q" * 256, "is longer than 255 bytes"),
        (names.queue(), "é" * 128, "is longer than 255 bytes"),
        (names.queue(), "a\nb", "contains a control character"),
        (names.exchange(), "q" * 256, "is longer than 255 bytes"),
        (names.path(), "log/file", "is not an absolute path"),
        (names.path(), "/a\x00", "contains a control character"),
        (names.log_targets(), "stderr,log", "is not an absolute path"),
        (names.server_id(), "a b", "is no server id"),
        (names.server_id(), "a" * 33, "is no server id"),
        (names.account(), "-x", "is no account"),
        (names.mail_address(), "postmaster", "is no mail address: an address needs a local part, an @ and a domain"),
        (net.port(), "0", "is not a port between 1 and 65535"),
        (net.port(), "65536", "is not a port between 1 and 65535"),
        (net.port(), "smtp", "is not a port number"),
        (net.ports(), "25,x", "is not a port number"),
        (net.ports(), "30-20", "is a range that ends before it starts"),
        (net.ports(), "20-", "is not a port number"),
        (net.ip_list(), "192.0.2.1 example.test", "is no IP address"),
        (net.ip_list(), "192.0.2.256", "is no IP address"),
        (net.ip_list(), "fe80::1%eth0", "has a zone"),
        (net.ip_port_list(53), "192.0.2.1:", "ends in a colon"),
        (net.ip_port_list(53), "[::1", "has a broken bracket"),
        (net.ip_port_list(53), "[::1]53", "has a broken bracket"),
        (net.ip_port_list(53), "[::1]:", "has a broken bracket"),
        (net.ip_port_list(53), "[::1]:0", "is not a port between 1 and 65535"),
        (net.networks(), "192.0.2.1/24", "has bits set behind its prefix length"),
        (net.networks(), "192.0.2.0/33", "is no IP address or network"),
        (net.networks_with_ports(), "10.0.0.0/8:x", "is not a port number"),
        (net.host_name(), "192.0.2.1", "is no host name: it ends in a number"),
        (net.host_name(), "a_b", "is no host name: domain is not made of letters, digits and hyphens"),
        (net.host(), "300.1.1.1", "is neither a host name nor an IP address"),
        (net.host(), "a b", "is neither a host name nor an IP address"),
        (net.host(), "-a", "is neither a host name nor an IP address"),
        (net.host(), "[example]", "is neither a host name nor an IP address"),
        (net.host(), "a" * 64, "is neither a host name nor an IP address"),
        (net.store_address(), "/var/mail", "does not start with a known scheme"),
        (net.store_address(), "ftp://host/", "does not start with a known scheme"),
        (net.store_address(), "redis://", "has nothing behind its scheme"),
        (net.store_address(), "redis://a b", "contains a blank or a control character"),
        (net.database_address(), "redis://h/0", "does not start with a known scheme"),
        (net.proxy_address(), "https://proxy", "does not start with a known scheme"),
        (net.cluster_addresses(), "embedded:", "is the embedded broker, which serves one machine only"),
        (net.authentication(), "user:pw", "does not start with a known scheme"),
    ],
)
def test_refused(value_type: ValueType, text: str, predicate: str) -> None:
    with pytest.raises(BadValueError) as caught:
        value_type.parse(text)

    assert caught.value.predicate == predicate


def test_a_refused_list_names_the_item() -> None:
    with pytest.raises(BadValueError) as caught:
        net.networks().parse("10.0.0.0/8, 10.0.0.1/8")

    assert caught.value.item == "10.0.0.1/8"


def test_the_address_of_a_store_is_not_shown() -> None:
    assert "hunter2" not in repr(net.store_address().parse("mongodb://u:hunter2@h/d/c"))
