"""Framing: checked against pamqp, cut anywhere, and fed with garbage."""

from __future__ import annotations

import contextlib
import itertools
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header, heartbeat

from relayq.adapters.rabbitmq import frames
from relayq.adapters.rabbitmq.errors import ProtocolError
from relayq.adapters.rabbitmq.frames import Confirm, Delivery, Event, FrameParser, Method, Returned
from relayq.adapters.rabbitmq.properties import encode_properties
from relayq.ports import Properties

FRAME_MAX = 4096


def content(channel: int, method: Any, octets: bytes, frame_size: int = FRAME_MAX - 8, **properties: Any) -> bytes:
    pieces = [
        frame.marshal(method, channel),
        frame.marshal(header.ContentHeader(0, len(octets), commands.Basic.Properties(**properties)), channel),
    ]
    pieces += [
        frame.marshal(body.ContentBody(octets[start : start + frame_size]), channel)
        for start in range(0, len(octets), frame_size)
    ]
    return b"".join(pieces)


def delivery(tag: int, octets: bytes, channel: int = 1, *, redelivered: bool = False) -> bytes:
    method = commands.Basic.Deliver("consumer", tag, redelivered, "exchange", "queue")
    return content(channel, method, octets, delivery_mode=2, message_id=f"m{tag}")


STREAM = b"".join(
    [
        delivery(1, b"small"),
        frame.marshal(heartbeat.Heartbeat(), 0),
        frame.marshal(commands.Basic.Ack(7, True), 2),
        delivery(2, b"", redelivered=True),
        frame.marshal(commands.Basic.Nack(8, False), 2),
        delivery(3, bytes(range(256)) * 40),
        frame.marshal(commands.Basic.Cancel("consumer"), 1),
        content(2, commands.Basic.Return(312, "NO_ROUTE", "", "gone"), b"back", priority=4),
        frame.marshal(commands.Connection.Blocked("low on memory"), 0),
    ]
)


def shown(events: list[Event]) -> list[object]:
    return [(event.channel, type(event.method), dict(event.method)) if isinstance(event, Method) else event
            for event in events]  # fmt: skip


EXPECTED = [
    Delivery(1, 1, False, Properties(message_id="m1"), b"small"),
    Confirm(2, 7, True, True),
    Delivery(1, 2, True, Properties(message_id="m2"), b""),
    Confirm(2, 8, False, False),
    Delivery(1, 3, False, Properties(message_id="m3"), bytes(range(256)) * 40),
    (1, commands.Basic.Cancel, {"consumer_tag": "consumer", "nowait": False}),
    Returned(2, 312, "NO_ROUTE", "gone", Properties(persistent=False, priority=4), b"back"),
    (0, commands.Connection.Blocked, {"reason": "low on memory"}),
]


def test_a_stream_in_one_piece() -> None:
    assert shown(FrameParser(FRAME_MAX).feed(STREAM)) == EXPECTED


def test_a_stream_octet_by_octet() -> None:
    parser = FrameParser(FRAME_MAX)
    events = [event for octet in STREAM for event in parser.feed(bytes([octet]))]
    assert shown(events) == EXPECTED


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_cut_anywhere(cuts: list[int]) -> None:
    parser = FrameParser(FRAME_MAX)
    borders = [0, *sorted(cuts), len(STREAM)]
    events = [event for start, end in itertools.pairwise(borders) for event in parser.feed(STREAM[start:end])]
    assert shown(events) == EXPECTED


def test_messages_of_different_channels_may_interleave() -> None:
    one, two = delivery(1, b"1" * 9000, channel=1), delivery(5, b"2" * 9000, channel=2)

    def split(octets: bytes) -> list[bytes]:
        pieces = []
        while octets:
            size = struct.unpack_from(">I", octets, 3)[0] + 8
            pieces.append(octets[:size])
            octets = octets[size:]
        return pieces

    mixed = b"".join(itertools.chain.from_iterable(zip(split(one), split(two), strict=True)))
    events = FrameParser(FRAME_MAX).feed(mixed)
    assert [(event.channel, event.body) for event in events if isinstance(event, Delivery)] == [
        (1, b"1" * 9000),
        (2, b"2" * 9000),
    ]


@given(st.binary(max_size=400))
def test_garbage_gives_only_protocol_errors(octets: bytes) -> None:
    parser = FrameParser(FRAME_MAX)
    with contextlib.suppress(ProtocolError):
        parser.feed(octets)


METHOD_INDEXES = sorted(commands.INDEX_MAPPING)


@given(st.sampled_from(METHOD_INDEXES), st.binary(max_size=120), st.integers(0, 3))
def test_damaged_methods_give_only_protocol_errors(index: int, arguments: bytes, channel: int) -> None:
    payload = struct.pack(">I", index) + arguments
    octets = struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"
    with contextlib.suppress(ProtocolError):
        FrameParser(FRAME_MAX).feed(octets)


@given(st.integers(0, len(STREAM) - 1), st.integers(0, 255))
def test_one_wrong_octet_gives_only_protocol_errors(position: int, octet: int) -> None:
    octets = STREAM[:position] + bytes([octet]) + STREAM[position + 1 :]
    with contextlib.suppress(ProtocolError):
        FrameParser(FRAME_MAX).feed(octets)


def raw(kind: int, payload: bytes, channel: int = 1, end: bytes = b"\xce") -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


DELIVER = frame.marshal(commands.Basic.Deliver("c", 1, False, "", "q"), 1)
HEADER_5 = frame.marshal(header.ContentHeader(0, 5, commands.Basic.Properties()), 1)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (raw(1, b"\x00" * 20, end=b"\x00"), "end octet"),
        (raw(4, b""), "unknown type 4"),
        (struct.pack(">BHI", 1, 1, FRAME_MAX) + b"x", "4104 bytes, at most 4096"),
        (raw(1, b"\x00\x3c"), "without a method"),
        (raw(1, b"\x00\x3c\x00\x50\x00"), "wrong size"),
        (raw(1, struct.pack(">I", 0x003C003C) + b"\x00\x00"), "basic.deliver too short"),
        (raw(1, struct.pack(">I", 0x003C003C)), "basic.deliver too short"),
        (raw(1, struct.pack(">I", 0x003C0032) + b"\x00"), "basic.return too short"),
        (raw(1, struct.pack(">I", 0x003C0032) + b"\x01\x38\x00\x00\x00more"), "wrong size"),
        (raw(1, struct.pack(">I", 0x003C0047) + b"\x00" * 20), "unexpected method 60.71"),
        (raw(1, struct.pack(">I", 0x00630001)), "unexpected method 99.1"),
        (raw(2, b"\x00" * 14), "content header where none may come"),
        (raw(3, b"body"), "body where none may come"),
        (DELIVER + raw(3, b"body"), "body where none may come"),
        (DELIVER + DELIVER, "content of the last one"),
        (DELIVER + raw(2, b"\x00\x3c"), "header too short"),
        (DELIVER + raw(2, struct.pack(">HHQH", 10, 0, 5, 0)), "class 10"),
        (DELIVER + raw(2, struct.pack(">HHQH", 60, 0, 1 << 40, 0)), "1099511627776 bytes"),
        (DELIVER + HEADER_5 + HEADER_5, "content header where none may come"),
        (DELIVER + HEADER_5 + raw(3, b"123456"), "more body"),
    ],
)
def test_breaches_are_named(octets: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        FrameParser(FRAME_MAX).feed(octets)


def test_a_deliver_whose_consumer_tag_runs_over_the_end_is_refused() -> None:
    short = raw(1, struct.pack(">I", 0x003C003C) + b"\xff" + b"x" * 8)
    with pytest.raises(ProtocolError, match="too short"):
        FrameParser(FRAME_MAX).feed(short + delivery(1, b"x" * 500))


def test_property_blocks_are_remembered() -> None:
    parser = FrameParser(FRAME_MAX)
    first, second = parser.feed(delivery(1, b"a") + delivery(1, b"b"))
    assert isinstance(first, Delivery)
    assert isinstance(second, Delivery)
    assert first.properties is second.properties


# What we send, read by pamqp


def read(octets: bytes) -> list[tuple[int, Any]]:
    values = []
    while octets:
        count, channel, value = frame.unmarshal(octets)
        values.append((channel, value))
        octets = octets[count:]
    return values


def arguments(octets: bytes) -> tuple[int, type, dict[str, Any]]:
    ((channel, method),) = read(octets)
    return channel, type(method), dict(method)


NAME = "Grüße * {7}"


def test_queue_declare() -> None:
    octets = frames.encode_queue_declare(3, NAME, passive=False, durable=True, arguments={"x-message-ttl": 86_400_000})
    channel, kind, fields = arguments(octets)
    assert (channel, kind) == (3, commands.Queue.Declare)
    assert fields == {
        "ticket": 0, "queue": NAME, "passive": False, "durable": True, "exclusive": False, "auto_delete": False,
        "nowait": False, "arguments": {"x-message-ttl": 86_400_000},
    }  # fmt: skip
    passive = frames.encode_queue_declare(3, NAME, passive=True, durable=False, arguments={})
    assert arguments(passive)[2]["passive"] is True
    assert arguments(passive)[2]["durable"] is False


def test_queue_bind() -> None:
    assert arguments(frames.encode_queue_bind(3, NAME, "mail")) == (
        3,
        commands.Queue.Bind,
        {"ticket": 0, "queue": NAME, "exchange": "mail", "routing_key": NAME, "nowait": False, "arguments": {}},
    )


def test_exchange_declare() -> None:
    _, kind, fields = arguments(frames.encode_exchange_declare(3, "mail", passive=False, durable=True))
    assert kind is commands.Exchange.Declare
    assert (fields["exchange"], fields["exchange_type"], fields["durable"], fields["passive"]) == (
        "mail", "direct", True, False,
    )  # fmt: skip


def test_consume() -> None:
    _, kind, fields = arguments(frames.encode_consume(3, NAME, "tag"))
    assert kind is commands.Basic.Consume
    assert fields == {
        "ticket": 0, "queue": NAME, "consumer_tag": "tag", "no_local": False, "no_ack": False, "exclusive": False,
        "nowait": False, "arguments": {},
    }  # fmt: skip


def test_connection_open_takes_any_virtual_host() -> None:
    channel, kind, fields = arguments(frames.encode_connection_open("é" * 120))
    assert (channel, kind, fields["virtual_host"]) == (0, commands.Connection.Open, "é" * 120)


def test_acknowledgements() -> None:
    assert arguments(frames.encode_ack(9, 1 << 40, multiple=True)) == (
        9, commands.Basic.Ack, {"delivery_tag": 1 << 40, "multiple": True},
    )  # fmt: skip
    assert arguments(frames.encode_ack(9, 1, multiple=False))[2]["multiple"] is False
    assert arguments(frames.encode_requeue(9, 5)) == (
        9, commands.Basic.Nack, {"delivery_tag": 5, "multiple": False, "requeue": True},
    )  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 4087, 4088, 4089, 8176, 20_000])
def test_publish(size: int) -> None:
    octets = (bytes(range(256)) * 80)[:size]
    block = encode_properties(Properties(priority=9), persistent=True, content_encoding=None)
    publish = frames.encode_publish(4, "mail", NAME)
    wire = b"".join(frames.encode_message(publish, 4, block, octets, FRAME_MAX))
    (_, method), (_, head), *parts = read(wire)
    assert {channel for channel, _ in read(wire)} == {4}
    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory, method.immediate) == ("mail", NAME, True, False)
    assert (head.body_size, head.properties.priority, head.properties.delivery_mode) == (size, 9, 2)
    assert b"".join(part.value for _, part in parts) == octets
    assert all(0 < len(part.value) <= FRAME_MAX - 8 for _, part in parts)


def test_a_body_of_one_frame_is_not_copied() -> None:
    octets = b"x" * 1000
    pieces = frames.encode_message(b"", 1, b"\x00\x00", octets, FRAME_MAX)
    assert any(piece is octets for piece in pieces)
