"""Property blocks: checked against pamqp; what must not be republished is gone."""

from __future__ import annotations

import contextlib
import datetime
import decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, encode, header

from relayq.adapters.rabbitmq import properties as codec
from relayq.adapters.rabbitmq.errors import ProtocolError
from relayq.adapters.rabbitmq.properties import (
    PropertyDecoder,
    decode_properties,
    encode_properties,
    encode_short_string,
    read_table,
)
from relayq.ports import Properties


def block_of(**values: Any) -> bytes:
    return header.ContentHeader(0, 0, commands.Basic.Properties(**values)).marshal()[12:]


def table(values: dict[str, Any]) -> bytes:
    return encode.field_table(values)[4:]


ALL = {
    "content_type": "text/plain",
    "content_encoding": "gzip",
    "headers": {"tenant": "shop"},
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m",
    "timestamp": datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
    "message_type": "t",
    "user_id": "guest",
    "app_id": "a",
}
DECODED = Properties(
    content_encoding="gzip",
    persistent=True,
    priority=7,
    correlation_id="c",
    reply_to="r",
    message_id="m",
    type="t",
    app_id="a",
    timestamp=1795305600,
    headers=table({"tenant": "shop"}),
)


def test_everything_that_is_kept() -> None:
    assert decode_properties(block_of(**ALL)) == DECODED


def test_nothing_is_there() -> None:
    assert decode_properties(b"\x00\x00") == Properties(persistent=False)


def test_transient_is_not_persistent() -> None:
    assert decode_properties(block_of(delivery_mode=1)).persistent is False


def test_user_id_expiration_and_content_type_are_not_published() -> None:
    block = encode_properties(decode_properties(block_of(**ALL)), persistent=True, content_encoding=None)
    head = commands.Basic.Properties()
    head.unmarshal(int.from_bytes(block[:2], "big"), block[2:])
    assert head.content_type == "application/json"
    assert head.user_id is None
    assert head.expiration is None
    assert head.content_encoding is None
    assert (head.message_id, head.app_id, head.message_type, head.headers) == ("m", "a", "t", {"tenant": "shop"})


TEXT = st.one_of(st.none(), st.text(max_size=30))
RECORDS = st.builds(
    Properties,
    content_encoding=TEXT,
    persistent=st.booleans(),
    priority=st.one_of(st.none(), st.integers(0, 255)),
    correlation_id=TEXT,
    reply_to=TEXT,
    message_id=TEXT,
    type=TEXT,
    app_id=TEXT,
    timestamp=st.one_of(st.none(), st.integers(0, 2**64 - 1)),
    headers=st.dictionaries(st.text(max_size=9), st.one_of(st.text(max_size=9), st.integers(0, 9)), max_size=3).map(
        table
    ),
)


@given(RECORDS)
def test_round_trip(record: Properties) -> None:
    block = encode_properties(record, persistent=record.persistent, content_encoding=record.content_encoding)
    assert decode_properties(block) == record


@given(RECORDS, st.data())
def test_damage_gives_only_protocol_errors(record: Properties, data: st.DataObject) -> None:
    block = bytearray(encode_properties(record, persistent=True, content_encoding=record.content_encoding))
    position = data.draw(st.integers(0, len(block) - 1))
    block[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        decode_properties(bytes(block[: data.draw(st.integers(0, len(block)))]))


@pytest.mark.parametrize(
    "block",
    [b"", b"\x80", b"\x00\x01", b"\x00\x02",
     b"\x80\x00", b"\x80\x00\x05abc", b"\x08\x00", b"\x00\x40\x00", b"\x00\x00x",
     b"\x20\x00\x00\x00\x00\x09x", b"\x20\x00\x00\x00"],
)  # fmt: skip
def test_damaged_blocks(block: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_properties(block)


def test_text_that_is_no_utf_8_becomes_harmless_and_still_fits() -> None:
    properties = decode_properties(b"\x00\x80\xff" + b"\xff" * 255)
    assert properties.message_id == "\ufffd" * 255
    block = encode_properties(properties, persistent=True, content_encoding=None)
    assert decode_properties(block).message_id == "\ufffd" * 85


def test_short_strings_are_cut_at_a_character() -> None:
    assert encode_short_string("é" * 200) == b"\xfe" + "é".encode() * 127
    assert encode_short_string("\ud800") == b"\x01?"


@pytest.mark.parametrize(("given_priority", "published"), [(-3, 0), (300, 255), (255, 255)])
def test_priorities_fit_their_octet(given_priority: int, published: int) -> None:
    block = encode_properties(Properties(priority=given_priority), persistent=True, content_encoding=None)
    assert decode_properties(block).priority == published


def test_priority_can_be_left_out() -> None:
    block = encode_properties(Properties(priority=3), persistent=False, content_encoding="gzip", has_priority=False)
    assert decode_properties(block) == Properties(persistent=False, content_encoding="gzip")


DROPPED = {
    "x-death": [{"count": 1, "reason": "expired"}],
    "x-first-death-queue": "outbox.delay.9",
    "x-first-death-reason": "expired",
    "x-last-death-exchange": "",
    "x-delivery-count": 4,
    "x-acquired-count": 4,
    "x-delay": 5000,
    "CC": ["copy"],
    "BCC": ["copy"],
}
KEPT = {
    "tenant": "shop",
    "x-custom": "kept",
    "cc": "kept",
    "int": 1,
    "big": 1 << 40,
    "float": 0.5,
    "bool": True,
    "none": None,
    "bytes": bytearray(b"\x00\xff"),
    "time": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "decimal": decimal.Decimal("1.5"),
    "list": [1, "two", {"three": 3}],
    "table": {"CC": "inside, kept"},
}


def test_bookkeeping_is_dropped_and_the_rest_is_kept_octet_by_octet() -> None:
    mixed = {key: value for pair in zip(KEPT, DROPPED, strict=False) for key, value in
             ((pair[0], KEPT[pair[0]]), (pair[1], DROPPED[pair[1]]))}  # fmt: skip
    mixed |= KEPT
    expected = {key: value for key, value in mixed.items() if key in KEPT}
    assert read_table(table(mixed))[0] == table(expected)


@pytest.mark.parametrize(
    "kind", [b"t", b"b", b"B", b"s", b"u", b"U", b"I", b"i", b"l", b"L", b"f", b"d", b"T", b"D", b"V"]
)
def test_every_field_type_has_its_length(kind: bytes) -> None:
    size = {b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"U": 2, b"I": 4, b"i": 4, b"f": 4, b"D": 5, b"V": 0}.get(
        kind, 8
    )
    entry = b"\x01k" + kind + b"\x01" * size
    assert read_table(entry + b"\x02CCV" + entry)[0] == entry * 2


@pytest.mark.parametrize(
    "damage",
    [
        b"\x01kZ",
        b"\x09k",
        b"\x01kS\x00\x00",
        b"\x01kS\x00\x00\x00\x09x",
        b"\x01kI\x00",
        b"\x01k",
        b"\x01kF\xff\xff\xff\xff",
    ],
)
def test_a_damaged_table_is_cut(damage: bytes) -> None:
    assert read_table(b"\x04keptV\x02CCV" + damage)[0] == b"\x04keptV"


@given(st.binary(max_size=60))
def test_any_table_ends(octets: bytes) -> None:
    assert len(read_table(b"\x02CCV" + octets)[0]) <= len(octets)


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "CACHED_BLOCKS", 3)
    decoder = PropertyDecoder()
    blocks = [block_of(message_id=str(number)) for number in range(4)]
    first = [decoder.decode(block) for block in blocks[:3]]
    assert decoder.decode(blocks[0]) is first[0]
    decoder.decode(blocks[3])
    assert decoder.decode(blocks[0]) is not first[0]
    assert decoder.decode(blocks[0]) == first[0]


def test_long_blocks_are_not_remembered() -> None:
    decoder = PropertyDecoder()
    block = block_of(headers={"long": "x" * 600})
    assert decoder.decode(block) is not decoder.decode(block)


@pytest.mark.parametrize(
    ("headers", "count"),
    [
        ({"x-delivery-count": 7}, 7),
        ({"tenant": "shop", "x-delivery-count": 2**40, "after": True}, 2**40),
        ({"x-delivery-count": -3}, 0),
        ({"x-delivery-count": "many"}, 0),
        ({"tenant": "x-delivery-count"}, 0),
        ({"x-delivery-count-too": 5}, 0),
        ({}, 0),
    ],
)
def test_the_broker_counts_how_often_it_handed_a_message_out(headers: dict[str, Any], count: int) -> None:
    decoded = decode_properties(block_of(headers=headers))
    assert decoded.delivery_count == count
    assert b"x-delivery-count\x00" not in decoded.headers
    again = decode_properties(encode_properties(decoded, persistent=True, content_encoding=None))
    assert again.delivery_count == (count if "x-delivery-count" not in headers else 0)


def test_a_damaged_header_table_counts_nothing() -> None:
    entry = b"\x10x-delivery-countI\x00\x00"
    damaged = b"\x20\x00" + len(entry).to_bytes(4, "big") + entry
    assert decode_properties(damaged).delivery_count == 0


def test_the_identity_of_a_copy_comes_back_and_is_not_repeated() -> None:
    copy_id = bytes(range(16))
    headers = table({"x-tenant": "shop"})
    block = encode_properties(
        Properties(headers=headers, copy_id=b"o" * 16), persistent=True, content_encoding=None, copy_id=copy_id
    )

    decoded = decode_properties(block)

    assert decoded.copy_id == copy_id
    assert decoded.headers == headers
    again = encode_properties(decoded, persistent=True, content_encoding=None)
    assert decode_properties(again).copy_id == b""


@pytest.mark.parametrize("value", ["", "zz", "00" * 15, "00" * 17, "0" * 31, "é" * 16, 7, None, True, bytearray(16)])
def test_an_identity_that_is_none_of_ours_is_none(value: Any) -> None:
    properties = decode_properties(block_of(headers={"x-relayq-copy": value, "x-tenant": "shop"}))

    assert properties.copy_id == b""
    assert b"relayq" not in properties.headers
    assert b"tenant" in properties.headers
