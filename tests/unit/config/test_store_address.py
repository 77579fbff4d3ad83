from __future__ import annotations

import pytest

from relayq.config import BadValueError
from relayq.config.store_address import parse_store_address
from relayq.ports import StoreAddress

POSTGRESQL_MODES = "disable or allow or prefer or require or verify-ca or verify-full"


def mongodb(**members: object) -> StoreAddress:
    usual: dict[str, object] = {
        "engine": "mongodb",
        "scheme": "mongodb",
        "hosts": (("h", None),),
        "database": "d",
        "collection": "c",
    }
    return StoreAddress(**{**usual, **members})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dir:///var/mail", StoreAddress(engine="directory", scheme="dir", path="/var/mail")),
        (
            "Directory:///var/a%20b?depth=0&compression=GZIP",
            StoreAddress(engine="directory", scheme="directory", path="/var/a b", depth=0, compress=True),
        ),
        ("sqlite:///var/mail.db", StoreAddress(engine="sqlite", scheme="sqlite", path="/var/mail.db")),
        ("dir:///a@b/c", StoreAddress(engine="directory", scheme="dir", path="/a@b/c")),
        ("mongodb://h/d/c", mongodb()),
        ("mongodb://h/d/c/", mongodb()),
        ("mongodb://h1;h2:27018/rs/d/c", mongodb(hosts=(("h1", None), ("h2", 27018)), replica_set="rs")),
        ("mongodb://h1,[::1]:27018/d/c", mongodb(hosts=(("h1", None), ("::1", 27018)))),
        ("mongodb://u:p%40%2F?#w@h/d/c", mongodb(username="u", password="p@/?#w")),
        (
            "mongodb://h/d/c?readAttempts=3&maxQuerySize=50&compression=gzip&authSource=admin&w=majority",
            mongodb(
                read_attempts=3,
                max_query_size=50,
                compress=True,
                parameters=(("authSource", "admin"), ("w", "majority")),
            ),
        ),
        ("mongodb+srv://u:p@h/d/c", mongodb(scheme="mongodb+srv", username="u", password="p")),
        (
            "postgres://u:p@[2001:DB8::1]:5433/mail?sslmode=verify-full",
            StoreAddress(
                engine="postgresql",
                scheme="postgres",
                hosts=(("2001:db8::1", 5433),),
                username="u",
                password="p",
                database="mail",
                parameters=(("sslmode", "verify-full"),),
            ),
        ),
        (
            "mysql://u@h/mail?compression=none",
            StoreAddress(engine="mysql", scheme="mysql", hosts=(("h", None),), username="u", database="mail"),
        ),
        (
            "couchbase://secret@h1;h2/bucket",
            StoreAddress(
                engine="couchbase",
                scheme="couchbase",
                hosts=(("h1", None), ("h2", None)),
                username="bucket",
                password="secret",
                database="bucket",
            ),
        ),
        (
            "couchbase://u:p@h/bucket?kv_timeout=5",
            StoreAddress(
                engine="couchbase",
                scheme="couchbase",
                hosts=(("h", None),),
                username="u",
                password="p",
                database="bucket",
                parameters=(("kv_timeout", "5"),),
            ),
        ),
        (
            "s3://AK:s%2Fk@eu-west-1/bodies?endpoint=http://127.0.0.1:9000&prefix=mail/&pathstyle=true",
            StoreAddress(
                engine="s3",
                scheme="s3",
                hosts=(("eu-west-1", None),),
                username="AK",
                password="s/k",
                database="bodies",
                endpoint="http://127.0.0.1:9000",
                prefix="mail/",
                path_style=True,
            ),
        ),
        (
            "s3://:@eu-west-1/bodies",
            StoreAddress(engine="s3", scheme="s3", hosts=(("eu-west-1", None),), password="", database="bodies"),
        ),
        (
            "redis://h",
            StoreAddress(engine="redis", scheme="redis", hosts=(("h", None),), database="0", prefix="relayq:"),
        ),
        (
            "mysql://h/mail?ssl-mode=VERIFY_CA&ssl-ca=/etc/ca.pem",
            StoreAddress(
                engine="mysql",
                scheme="mysql",
                hosts=(("h", None),),
                database="mail",
                parameters=(("ssl-mode", "VERIFY_CA"), ("ssl-ca", "/etc/ca.pem")),
            ),
        ),
        (
            "rediss://:pw@h:6380/03?prefix=",
            StoreAddress(engine="redis", scheme="rediss", hosts=(("h", 6380),), password="pw", database="3"),
        ),
    ],
)
def test_accepted(text: str, expected: StoreAddress) -> None:
    assert parse_store_address(text) == expected


@pytest.mark.parametrize(
    ("text", "predicate"),
    [
        ("/var/mail", "does not start with a known scheme"),
        ("ftp://h/x", "does not start with a known scheme"),
        ("redis://", "has nothing behind its scheme"),
        ("redis://a b", "contains a blank or a control character"),
        ("dir://var/mail", "has no absolute path: three slashes follow the colon"),
        ("sqlite:///var/mail/", "names a directory, not a file"),
        ("dir:///a?depth=9", "has an option depth outside 0-8"),
        ("dir:///a?depht=1", "has an unknown option behind the ?, allowed are compression, depth"),
        ("dir:///a?compression=zip", "has an option compression that is not gzip or none"),
        ("dir:///a%zz", "has a % without two hexadecimal digits in the path: write it as %25"),
        ("dir:///a%ff", "has a path that is not UTF-8"),
        ("dir:///a%0a", "has a control character in the path"),
        ("mongodb://h/d", "does not have the form host/database/collection or host/replica set/database/collection"),
        ("mongodb://h//c", "does not have the form host/database/collection or host/replica set/database/collection"),
        ("mongodb://h1;;h2/d/c", "has no host"),
        ("mongodb://u:p/w@h/d/c", "has a / before an @: write %2F in a password, %40 for an @ behind the host"),
        ("mongodb+srv://h1;h2/d/c", "has more than one host"),
        ("postgresql://h", "does not have the form host/database"),
        ("postgresql://h1;h2/d", "has more than one host"),
        ("postgresql://::1/d", "has a host with several colons: write an IPv6 address in brackets"),
        ("postgresql://h:x/d", "has a host or port that is not a port number"),
        ("postgresql://h/d?sslmode=on", f"has an option sslmode that is not {POSTGRESQL_MODES}"),
        (
            "mysql://h/d?depth=1",
            "has an unknown option behind the ?, allowed are compression, ssl-mode, ssl-ca, ssl-cert, ssl-key",
        ),
        (
            "mysql://h/d?ssl-mode=preferred",
            "has an option ssl-mode that is not disabled or required or verify_ca or verify_identity",
        ),
        ("couchbase://h/b", "has no password"),
        ("s3://key@r/b", "has only one of access key and secret key"),
        ("s3://r/b?endpoint=h:1", "has an option endpoint that does not start with http:// or https://"),
        ("redis://h/x", "has a database that is no number"),
        ("redis://h/65536", "has a database that is no number"),
        (
            "redis://secret@h/0",
            "has a user without a password: a password alone is written :password@host",
        ),
        ("redis://h/0?ssl-ca=/ca.pem", "has an unknown option behind the ?, allowed are compression, prefix"),
    ],
)
def test_refused(text: str, predicate: str) -> None:
    with pytest.raises(BadValueError) as caught:
        parse_store_address(text)
    assert caught.value.predicate == predicate


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mongodb://u:hunter2@h1;[::1]:5/rs/d/c?authSource=hunter2", "mongodb://h1;[::1]:5/rs/d/c"),
        ("dir:///var/mail?depth=2", "dir:///var/mail"),
        ("couchbase://hunter2@h/b", "couchbase://h/b"),
    ],
)
def test_a_password_is_never_shown(text: str, shown: str) -> None:
    address = parse_store_address(text)
    assert str(address) == shown
    assert "hunter2" not in repr(address)
