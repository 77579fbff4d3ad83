"""The records against the table: nothing that can be set is lost on the way, and fields have the type they say."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path

import pytest

from relayq import ports
from relayq.config import broker_address, network_types, records
from relayq.config.records import Record
from relayq.config.setting import Supported
from relayq.config.settings import Settings
from relayq.config.table import TABLE
from tests.unit.config.loading import load_text

RECORDS: tuple[type[Record], ...] = tuple(
    value
    for value in vars(records).values()
    if isinstance(value, type) and issubclass(value, Record) and value is not Record
)
# It says where values come from, and is not one of them.
NO_RECORD = {"config-file", "proxy-server"}  # the latter is what download-proxy is by default
EVERYTHING = """\
rabbitmq-address: amqps://u:p@h1;h2/v
rabbitmq-results: results
rabbitmq-inbox:
rabbitmq-encoding: gzip
rabbitmq-exchange: mail
smtp-default-ips: 192.0.2.1
smtp-out-hostname: out.example
smtp-sink-address: 127.0.0.1
dns-nameservers: 192.0.2.53
application-log: stdout, /var/log/relayq
"""


def matches(value: object, hint: object) -> bool:
    """Whether ``value`` is what an annotation promises."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in arguments
    if origin in {typing.Union, types.UnionType}:
        return any(matches(value, argument) for argument in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(matches(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(matches, value, arguments))
    assert isinstance(hint, type)
    return type(value) is hint


def all_records(settings: Settings) -> list[Record]:
    return [value for item in dataclasses.fields(settings) if isinstance(value := getattr(settings, item.name), Record)]


@pytest.mark.parametrize("record", RECORDS)
def test_every_field_is_a_key(record: type[Record]) -> None:
    assert set(record.keys_by_field().values()) <= TABLE.keys()


def test_everything_that_can_be_set_reaches_a_record() -> None:
    reached = {key for record in RECORDS for key in record.keys_by_field().values()}
    settable = {key for key, row in TABLE.items() if row.supported is not Supported.NOT_YET or row.tier == "A"}

    assert settable - NO_RECORD - reached == set()


@pytest.mark.parametrize("text", ["", EVERYTHING])
def test_values_have_the_type_their_field_says(tmp_path: Path, text: str) -> None:
    settings = load_text(tmp_path, text)
    names = {"Mapping": Mapping, **vars(records), **vars(broker_address), **vars(network_types), **vars(ports)}

    found = all_records(settings)
    assert {type(record) for record in found} == set(RECORDS)
    for record in found:
        hints = typing.get_type_hints(type(record), localns=names)
        for name in record.keys_by_field():
            assert matches(getattr(record, name), hints[name]), (type(record), name)


def test_a_field_holds_the_value_of_its_key(tmp_path: Path) -> None:
    text = "smtp-out-timeout-quit: 7\n8bit: convert\nsmtp-max-hosts: 9\ndns-min-ttl: 2m\nconnection-maxidle: 250\n"
    settings = load_text(tmp_path, text)

    assert settings.timeouts.quit == 7
    assert settings.session.eight_bit == "convert"
    assert settings.route.max_hosts == 9
    assert settings.dns.min_ttl == 120
    assert settings.limits.connection_maxidle == 0.25


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load_text(tmp_path)

    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.timeouts.quit = 1  # type: ignore[misc]
