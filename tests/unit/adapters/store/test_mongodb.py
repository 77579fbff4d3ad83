"""What a store in MongoDB makes of its address, and of documents no server for tests would take."""

from __future__ import annotations

import pytest
from bson import DatetimeMS, decode, encode

from relayq.adapters.store import BadOptionError, check_engine
from relayq.adapters.store.mongodb import _CODEC, MongoDbStore, _has_expired, _octets, _open_client
from relayq.config.store_address import parse_store_address


async def test_everything_of_the_address_reaches_the_driver() -> None:
    address = parse_store_address(
        "mongodb://anna:p%40ss%2F@[::1]:27018;other.test/rs%200/mail/bodies?w=2&wtimeoutMS=700&tls=true"
        "&readPreference=secondaryPreferred&readPreferenceTags=dc:ny,rack:1"
    )
    async with _open_client(address) as client:
        options = client.options
        assert client._topology_settings.seeds == {("::1", 27018), ("other.test", 27017)}
        assert options.replica_set_name == "rs 0"
        assert client.write_concern.document == {"w": 2, "wtimeout": 700, "j": True}
        assert client.read_preference.name == "SecondaryPreferred"
        assert client.read_preference.tag_sets == [{"dc": "ny", "rack": "1"}]
        assert options.server_selection_timeout == 5
        credentials = options._options["username"], options._options["password"], options._options["authsource"]
        assert credentials == ("anna", "p@ss/", "mail")


async def test_what_is_not_said_is_safe() -> None:
    address = parse_store_address("mongodb://h/d/c")
    async with _open_client(address) as client:
        assert client.write_concern.document == {"w": "majority", "j": True}
        assert "authsource" not in client.options._options


@pytest.mark.parametrize("option", ["wurst=4711", "tls=perhaps", "w=-4711", "readPreference=nearby", "maxPoolSize=few"])
def test_an_option_that_the_driver_does_not_take_is_named(option: str) -> None:
    name, _, value = option.partition("=")
    with pytest.raises(BadOptionError, match=f"its option {name} ") as caught:
        check_engine(parse_store_address(f"mongodb://u:hunter2@h/d/c?{option}"))
    assert value not in str(caught.value).partition("its option")[2].replace(name, "")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("rest", "source"),
    [
        ("anna:pw@h/mail/c", "mail"),
        ("anna:pw@h/mail/c?authMechanism=SCRAM-SHA-256", "mail"),
        ("anna:pw@h/mail/c?authSource=admin", "admin"),
        ("anna:pw@h/mail/c?authMechanism=PLAIN", "$external"),
        ("CN%3Danna@h/mail/c?authMechanism=MONGODB-X509&tls=true", "$external"),
    ],
)
async def test_where_the_user_is_known(rest: str, source: str) -> None:
    async with _open_client(parse_store_address(f"mongodb://{rest}")) as client:
        credentials = client.options.pool_options._credentials
        assert credentials is not None
        assert credentials.source == source


@pytest.mark.parametrize(
    ("rest", "text"),
    [
        ("h/d/c?tls=true&ssl=false", "does not take its options together"),
        ("h/d/c?tls=true&tlsCAFile=/nowhere/ca.pem", "No such file"),
        ("a;b/d/c?directConnection=true", "multiple hosts"),
        ("anna@h/d/c", "password is required"),
    ],
)
def test_what_contradicts_itself_or_is_not_there_is_refused(rest: str, text: str) -> None:
    with pytest.raises(BadOptionError, match=text):
        check_engine(parse_store_address(f"mongodb://{rest}"))


def test_hosts_from_the_dns_are_not_asked_for_before_they_are_needed() -> None:
    check_engine(parse_store_address("mongodb+srv://anna:hunter2@cluster.example.test/d/c"))


@pytest.mark.parametrize("value", [b"caf\xe9", b"\xff\xfe", b"a\x00b\xc3"])
def test_a_text_that_is_not_utf_8_is_read_octet_by_octet(value: bytes) -> None:
    raw = encode({"value": "?" * len(value)}).replace(b"?" * len(value), value)
    assert _octets(decode(raw, codec_options=_CODEC)) == value


@pytest.mark.parametrize(("milliseconds", "is_past"), [(-(2**62), False), (0, True), (2**62, False)])
def test_dates_that_python_does_not_know_do_no_harm(milliseconds: int, is_past: bool) -> None:
    document = decode(encode({"expire": DatetimeMS(milliseconds)}), codec_options=_CODEC)
    assert _has_expired(document) == is_past


async def test_a_store_that_was_never_used_can_be_closed() -> None:
    await MongoDbStore(parse_store_address("mongodb://h/d/c")).close()
