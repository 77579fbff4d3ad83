from __future__ import annotations

import pytest

from relayq.config import BadValueError, BrokerAddress, BrokerOptions, EmbeddedAddress, parse_broker_addresses


def address(**members: object) -> BrokerAddress:
    usual: dict[str, object] = {
        "hosts": (("localhost", 5672),),
        "user": "guest",
        "password": "guest",
        "vhost": "/",
        "tls": False,
    }
    return BrokerAddress(**{**usual, **members})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", address()),
        ("amqp://", address()),
        ("AMQP:///", address()),
        ("amqp://:@/", address()),
        ("amqp://broker", address(hosts=(("broker", 5672),))),
        ("amqps://broker", address(hosts=(("broker", 5671),), tls=True)),
        ("amqp://broker:1/", address(hosts=(("broker", 1),))),
        ("amqp://[2001:DB8::1]:7/v", address(hosts=(("2001:db8::1", 7),), vhost="v")),
        ("amqp://192.0.2.1/%2F", address(hosts=(("192.0.2.1", 5672),))),
        ("amqp://u:p@h/v", address(hosts=(("h", 5672),), user="u", password="p", vhost="v")),
        ("amqp://u@h", address(hosts=(("h", 5672),), user="u", password="")),
        ("amqp://u:p%40%2F%25%C3%A9@h", address(hosts=(("h", 5672),), user="u", password="p@/%é")),
        ("amqp://u:a#b?c:d;e@h/v", address(hosts=(("h", 5672),), user="u", password="a#b?c:d;e", vhost="v")),
        ("amqp://u:p@ss@h", address(hosts=(("h", 5672),), user="u", password="p@ss")),
        ("amqp://h1;h2:5673;[::1]/v", address(hosts=(("h1", 5672), ("h2", 5673), ("::1", 5672)), vhost="v")),
        ("amqp://my_broker/a%2Fb", address(hosts=(("my_broker", 5672),), vhost="a/b")),
        (
            "amqps://h/v?heartbeat=0&connection_timeout=2500&cacertfile=/ca&certfile=/c%20d&keyfile=/k&server_name_indication=b.test",
            address(
                hosts=(("h", 5671),),
                vhost="v",
                tls=True,
                options=BrokerOptions(
                    heartbeat=0,
                    connection_timeout=2.5,
                    cacertfile="/ca",
                    certfile="/c d",
                    keyfile="/k",
                    server_name_indication="b.test",
                ),
            ),
        ),
        ("amqp://h?heartbeat=10", address(hosts=(("h", 5672),), options=BrokerOptions(heartbeat=10))),
    ],
)
def test_one_address(text: str, expected: BrokerAddress) -> None:
    assert parse_broker_addresses(text) == (expected,)


def test_commas_separate_addresses_and_semicolons_hosts() -> None:
    assert parse_broker_addresses("amqp://u:p@a;b/v , amqps://c/,") == (
        address(hosts=(("a", 5672), ("b", 5672)), user="u", password="p", vhost="v"),
        address(hosts=(("c", 5671),), tls=True),
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [("embedded:", None), ("Embedded:", None), ("embedded:///var/lib/my mail/r.db", "/var/lib/my mail/r.db")],
)
def test_embedded(text: str, path: str | None) -> None:
    assert parse_broker_addresses(text) == EmbeddedAddress(path=path)


@pytest.mark.parametrize(
    ("text", "predicate"),
    [
        ("broker", "has a part that does not start with amqp://, amqps:// or embedded:"),
        ("http://broker", "has a part that does not start with amqp://, amqps:// or embedded:"),
        ("amqp:broker", "has a part that does not start with amqp://, amqps:// or embedded:"),
        ("embedded", "has a part that does not start with amqp://, amqps:// or embedded:"),
        ("amqp://h\x01", "contains a control character"),
        ("amqp://h:0", "has a host or port that is not a port between 1 and 65535"),
        ("amqp://h:65536", "has a host or port that is not a port between 1 and 65535"),
        ("amqp://h:", "has a host or port that ends in a colon"),
        ("amqp://::1/", "has a host with several colons: write an IPv6 address in brackets"),
        ("amqp://[::1/", "has a host or port that has a broken bracket"),
        ("amqp://[h]/", "has a host or port that is neither a host name nor an IP address"),
        ("amqp://a b/", "has a host or port that is neither a host name nor an IP address"),
        ("amqp://h/a/b", "has more than one path segment: write a / inside the virtual host as %2F"),
        ("amqp://h/%", "has a % without two hexadecimal digits in the virtual host: write it as %25"),
        ("amqp://u:%zz@h/", "has a % without two hexadecimal digits in the password: write it as %25"),
        ("amqp://%ff:p@h/", "has a user name that is not UTF-8"),
        ("amqp://u:a%00b@h/", "has a control character in the password"),
        ("amqp://u:a/b@h/", "has a / before an @: write %2F in a password, %40 for an @ behind the host"),
        (f"amqp://h/{'v' * 256}", "has a virtual host of more than 255 bytes"),
        ("amqp://h/?heartbeat=65536", "has an option heartbeat outside 0-65535"),
        ("amqp://h/?heartbeat=", "has an option heartbeat outside 0-65535"),
        ("amqp://h/?connection_timeout=0", "has an option connection_timeout outside 1-3600000"),
        ("amqp://h/?cacertfile=ca", "has an option cacertfile that is no absolute path"),
        ("amqp://h/?certfile=/c", "has only one of the options certfile and keyfile"),
        (
            "amqp://h/?server_name_indication=a%20b",
            "has an option server_name_indication that is neither a host name nor an IP address",
        ),
        ("embedded:///", "is neither embedded: nor embedded:///absolute/path/of/a/file"),
        ("embedded://host/file", "is neither embedded: nor embedded:///absolute/path/of/a/file"),
        ("embedded:/file", "is neither embedded: nor embedded:///absolute/path/of/a/file"),
        ("embedded:,amqp://h", "has the embedded broker next to another address"),
        ("embedded:,embedded:", "has the embedded broker next to another address"),
    ],
)
def test_refused(text: str, predicate: str) -> None:
    with pytest.raises(BadValueError) as caught:
        parse_broker_addresses(text)

    assert caught.value.predicate == predicate


def test_an_unknown_option_is_refused_without_being_quoted() -> None:
    with pytest.raises(BadValueError, match="has an unknown option behind the") as caught:
        parse_broker_addresses("amqp://u@h/?password=hunter2")

    assert "hunter2" not in caught.value.predicate


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://u:hunter2@h;[::1]:7/a%2Fb?heartbeat=1", "amqp://u:***@h:5672;[::1]:7/a%2Fb"),
        ("amqps://h/", "amqps://guest:***@h:5671/"),
        ("embedded:", "embedded:"),
        ("embedded:///a/b", "embedded:///a/b"),
    ],
)
def test_text_form_hides_the_password(text: str, shown: str) -> None:
    parsed = parse_broker_addresses(text)

    assert str(parsed if isinstance(parsed, EmbeddedAddress) else parsed[0]) == shown
    assert "hunter2" not in repr(parsed)
