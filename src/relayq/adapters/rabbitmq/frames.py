"""AMQP 0-9-1 frames without I/O: octets in, events out; what we send, out as octets.

A frame is type, channel, size, payload and the octet 0xCE (AMQP 0-9-1 §4.2.3). A message is three or more of them on
one channel: a method that carries content, a content header with the body size and the properties, and as many body
frames as it takes. What comes and goes once per message (deliver, header, body, publish, ack) is packed and unpacked
here; every other method is left to pamqp.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import msgspec
from pamqp import base, commands, encode
from pamqp import exceptions as pamqp_exceptions
from pamqp import frame as pamqp_frame

from relayq.adapters.rabbitmq.errors import ProtocolError
from relayq.adapters.rabbitmq.properties import PropertyDecoder, encode_short_string
from relayq.ports import Properties

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

# What a peer may send before frame_max is negotiated: 4096 in AMQP 0-9-1 §2.3.6, 8192 from RabbitMQ 4.1; server
# properties may be long, and the default of every broker is this.
DEFAULT_FRAME_MAX = 131_072
# RabbitMQ refuses to be configured above 512 MiB (max_message_size).
MAX_BODY_BYTES = 512 * 1024 * 1024

_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_END = 0xCE
_OVERHEAD = 8  # type, channel, size and end octet

_DELIVER = 0x003C003C
_ACK = 0x003C0050
_NACK = 0x003C0078
_RETURN = 0x003C0032

_FRAME = struct.Struct(">BHI")
_INDEX = struct.Struct(">I")
_TAG_AND_FLAG = struct.Struct(">QB")
_CODE = struct.Struct(">H")
_CONTENT = struct.Struct(">HHQ")
# Whole frames: type, channel, size, then the payload, then the end octet.
_ACK_FRAME = struct.Struct(">BHIIQBB")
_HEADER_FRAME = struct.Struct(">BHIIQ")
# The end octet of one frame and the start of the next, packed in one go.
_END_AND_FRAME = struct.Struct(">BBHI")

_CLASS_BASIC = 60
_ACK_SIZE = 13
_CONTENT_SIZE = 12
_DELIVER_START = _INDEX.pack(_DELIVER)

# All a broker may send to a client that does what ours does, but for the methods above.
_EXPECTED_METHODS: dict[int, type[base.Frame]] = {
    method.index: method
    for method in (
        commands.Connection.Start,
        commands.Connection.Tune,
        commands.Connection.OpenOk,
        commands.Connection.Close,
        commands.Connection.CloseOk,
        commands.Connection.Blocked,
        commands.Connection.Unblocked,
        commands.Channel.OpenOk,
        commands.Channel.Flow,
        commands.Channel.Close,
        commands.Channel.CloseOk,
        commands.Exchange.DeclareOk,
        commands.Queue.DeclareOk,
        commands.Queue.BindOk,
        commands.Queue.PurgeOk,
        commands.Basic.QosOk,
        commands.Basic.ConsumeOk,
        commands.Basic.Cancel,
        commands.Basic.CancelOk,
        commands.Confirm.SelectOk,
    )
}

# What pamqp raises on octets that are no method.
_DECODING_ERRORS = (
    pamqp_exceptions.PAMQPException,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    OSError,
    struct.error,
    RecursionError,
)


class Delivery(msgspec.Struct, gc=False):
    """A whole message of a consumer."""

    channel: int
    tag: int
    redelivered: bool
    properties: Properties
    body: bytes


class Returned(msgspec.Struct, gc=False):
    """A mandatory publish that came back; its confirm follows."""

    channel: int
    code: int
    text: str
    routing_key: str
    properties: Properties
    body: bytes


class Confirm(msgspec.Struct, gc=False):
    """Ack or nack of our publishes: of ``tag`` alone, or of all up to and including it (0: of all)."""

    channel: int
    tag: int
    is_multiple: bool
    is_positive: bool


class Method(msgspec.Struct, gc=False):
    """Any other method."""

    channel: int
    method: base.Frame


Event = Delivery | Returned | Confirm | Method


class _Content:
    """A message whose frames are still arriving."""

    __slots__ = ("make", "missing", "parts", "properties")

    def __init__(self, make: Callable[[Properties, bytes], Event]) -> None:
        self.make = make
        self.properties: Properties | None = None
        self.missing = 0
        # Pieces in a list would be there once more when they are joined.
        self.parts: io.BytesIO | None = None


class FrameParser:
    """Turns received octets, split anywhere, into events.

    Holds at most one incomplete frame and, per channel, one incomplete message. After a `ProtocolError` it must not be
    used again.
    """

    def __init__(self, frame_max: int = DEFAULT_FRAME_MAX) -> None:
        self.frame_max = frame_max
        self._chunks: list[bytes] = []
        self._have = 0
        self._need = 0
        self._contents: dict[int, _Content] = {}
        self._decoder = PropertyDecoder()

    def feed(self, data: bytes) -> list[Event]:
        """Take what was received; events in the order they came, heartbeats left out.

        Raises:
            ProtocolError: Not AMQP 0-9-1, or a frame larger than ``frame_max``.
        """
        if self._chunks:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
        events: list[Event] = []
        position, end = 0, len(data)
        self._need = _OVERHEAD
        while end - position >= _OVERHEAD:
            kind, channel, size = _FRAME.unpack_from(data, position)
            if size + _OVERHEAD > self.frame_max:
                raise ProtocolError(f"frame of {size + _OVERHEAD} bytes, at most {self.frame_max} were agreed")
            start = position + 7
            stop = start + size
            if stop >= end:
                self._need = size + _OVERHEAD
                break
            if data[stop] != _END:
                raise ProtocolError("frame without its end octet")
            if kind == _METHOD and data.startswith(_DELIVER_START, start) and channel not in self._contents:
                whole = self._take_whole_delivery(channel, data, start, stop, end)
                if whole is not None:
                    event, position = whole
                    events.append(event)
                    continue
            position = stop + 1
            taken = self._take_frame(kind, channel, data, start, stop)
            if taken is not None:
                events.append(taken)
        if position < end:
            self._chunks.append(data[position:] if position else data)
            self._have = end - position
        return events

    def _take_whole_delivery(
        self, channel: int, data: bytes, start: int, stop: int, end: int
    ) -> tuple[Delivery, int] | None:
        """A message whose three frames lie in ``data`` one behind the other, and where the next frame starts.

        This is how nearly all messages arrive, and it saves a third of the time. ``None``: take it frame by frame,
        which also finds out what is wrong.
        """
        position = start + 5 + data[start + 4]
        header_start = stop + 8
        if position + 9 > stop or header_start + _CONTENT_SIZE >= end:
            return None
        kind, header_channel, header_size = _FRAME.unpack_from(data, stop + 1)
        header_stop = header_start + header_size
        if kind != _HEADER or header_channel != channel or header_stop + _OVERHEAD > end:
            return None
        _, kind, body_channel, size = _END_AND_FRAME.unpack_from(data, header_stop)
        body_start = header_stop + 8
        body_stop = body_start + size
        class_id, _, body_size = _CONTENT.unpack_from(data, header_start)
        if (
            header_size < _CONTENT_SIZE
            or kind != _BODY
            or body_channel != channel
            or class_id != _CLASS_BASIC
            or body_size != size
            or max(size, header_size) + _OVERHEAD > self.frame_max
            or body_stop >= end
            or data[header_stop] != _END
            or data[body_stop] != _END
        ):
            return None
        tag, flags = _TAG_AND_FLAG.unpack_from(data, position)
        properties = self._decoder.decode(data[header_start + _CONTENT_SIZE : header_stop])
        return Delivery(channel, tag, bool(flags & 1), properties, data[body_start:body_stop]), body_stop + 1

    def _take_frame(self, kind: int, channel: int, data: bytes, start: int, stop: int) -> Event | None:
        if kind == _BODY:
            return self._take_body(channel, data[start:stop])
        if kind == _METHOD:
            return self._take_method(channel, data, start, stop)
        if kind == _HEADER:
            return self._take_header(channel, data, start, stop)
        if kind == _HEARTBEAT:
            return None
        raise ProtocolError(f"frame of unknown type {kind}")

    def _take_method(self, channel: int, data: bytes, start: int, stop: int) -> Event | None:
        if stop - start < 4:
            raise ProtocolError("method frame without a method")
        if channel in self._contents:
            raise ProtocolError("a method where the content of the last one had to follow")
        (index,) = _INDEX.unpack_from(data, start)
        position = start + 4
        if index == _DELIVER:
            self._contents[channel] = _Content(_parse_deliver(channel, data, position, stop))
            return None
        if index in (_ACK, _NACK):
            if stop - position != _TAG_AND_FLAG.size:
                raise ProtocolError("confirm of a wrong size")
            tag, flags = _TAG_AND_FLAG.unpack_from(data, position)
            return Confirm(channel, tag, bool(flags & 1), index == _ACK)
        if index == _RETURN:
            self._contents[channel] = _Content(_parse_return(channel, data[position:stop]))
            return None
        return Method(channel, parse_method(data[start:stop]))

    def _take_header(self, channel: int, data: bytes, start: int, stop: int) -> Event | None:
        content = self._contents.get(channel)
        if content is None or content.properties is not None:
            raise ProtocolError("a content header where none may come")
        if stop - start < _CONTENT_SIZE:
            raise ProtocolError("content header too short")
        class_id, _, size = _CONTENT.unpack_from(data, start)
        if class_id != _CLASS_BASIC or size > MAX_BODY_BYTES:
            raise ProtocolError(f"content header of class {class_id} for {size} bytes")
        content.properties = self._decoder.decode(data[start + _CONTENT_SIZE : stop])
        content.missing = size
        if size:
            return None
        del self._contents[channel]
        return content.make(content.properties, b"")

    def _take_body(self, channel: int, octets: bytes) -> Event | None:
        content = self._contents.get(channel)
        if content is None or content.properties is None:
            raise ProtocolError("a body where none may come")
        missing = content.missing - len(octets)
        if missing < 0:
            raise ProtocolError("more body than the content header said")
        if missing:
            content.missing = missing
            if content.parts is None:
                content.parts = io.BytesIO()
            content.parts.write(octets)
            return None
        del self._contents[channel]
        if content.parts is not None:
            content.parts.write(octets)
            octets = content.parts.getvalue()
        return content.make(content.properties, octets)


def _parse_deliver(channel: int, data: bytes, position: int, stop: int) -> Callable[[Properties, bytes], Delivery]:
    """``basic.deliver``: consumer tag, delivery tag, redelivered; exchange and routing key are not needed."""
    position += 1 + data[position]  # at worst this is the frame's end octet
    if position + _TAG_AND_FLAG.size > stop:
        raise ProtocolError("basic.deliver too short")
    tag, flags = _TAG_AND_FLAG.unpack_from(data, position)
    return lambda properties, body: Delivery(channel, tag, bool(flags & 1), properties, body)


def _parse_return(channel: int, payload: bytes) -> Callable[[Properties, bytes], Returned]:
    """``basic.return``: reply code, reply text, exchange, routing key."""
    try:
        (code,) = _CODE.unpack_from(payload)
        position = 2
        texts = []
        for _ in range(3):
            end = position + 1 + payload[position]
            texts.append(payload[position + 1 : end].decode("utf-8", "replace"))
            position = end
    except (IndexError, struct.error):
        raise ProtocolError("basic.return too short") from None
    if position != len(payload):
        raise ProtocolError("basic.return of a wrong size")
    text, _, routing_key = texts
    return lambda properties, body: Returned(channel, code, text, routing_key, properties, body)


def parse_method(payload: bytes) -> base.Frame:
    """Decode a method payload with pamqp.

    Raises:
        ProtocolError: Damaged, or no method that may come here.
    """
    index = int.from_bytes(payload[:4], "big")
    known = _EXPECTED_METHODS.get(index)
    if known is None:
        raise ProtocolError(f"unexpected method {index >> 16}.{index & 0xFFFF}")
    try:
        method = known()
        method.unmarshal(payload[4:])
    except _DECODING_ERRORS as error:
        raise ProtocolError(f"damaged method {known.__qualname__}: {type(error).__name__}") from error
    return method


def encode_method(channel: int, method: base.Frame) -> bytes:
    """A whole method frame by pamqp, for methods without names from outside (pamqp allows few characters in those)."""
    return pamqp_frame.marshal(method, channel)


def _frame(channel: int, payload: bytes) -> bytes:
    return _FRAME.pack(_METHOD, channel, len(payload)) + payload + b"\xce"


def encode_queue_declare(
    channel: int,
    queue: str,
    *,
    passive: bool,
    durable: bool,
    arguments: dict[str, Any],
    exclusive: bool = False,
    auto_delete: bool = False,
) -> bytes:
    """``queue.declare``; by default shared, and kept when unused."""
    flags = passive | durable << 1 | exclusive << 2 | auto_delete << 3
    payload = _INDEX.pack(commands.Queue.Declare.index) + b"\x00\x00" + encode_short_string(queue) + bytes((flags,))
    return _frame(channel, payload + encode.field_table(arguments))


def encode_queue_bind(channel: int, queue: str, exchange: str) -> bytes:
    """``queue.bind`` with the queue's name as routing key."""
    name = encode_short_string(queue)
    payload = _INDEX.pack(commands.Queue.Bind.index) + b"\x00\x00" + name + encode_short_string(exchange) + name
    return _frame(channel, payload + b"\x00" + encode.field_table({}))


def encode_queue_purge(channel: int, queue: str) -> bytes:
    """``queue.purge``."""
    payload = _INDEX.pack(commands.Queue.Purge.index) + b"\x00\x00" + encode_short_string(queue) + b"\x00"
    return _frame(channel, payload)


def encode_exchange_declare(channel: int, exchange: str, *, passive: bool, durable: bool) -> bytes:
    """``exchange.declare`` of type direct."""
    payload = _INDEX.pack(commands.Exchange.Declare.index) + b"\x00\x00" + encode_short_string(exchange)
    return _frame(channel, payload + b"\x06direct" + bytes((passive | durable << 1,)) + encode.field_table({}))


def encode_consume(channel: int, queue: str, consumer_tag: str) -> bytes:
    """``basic.consume`` with manual acknowledgement, not exclusive."""
    payload = _INDEX.pack(commands.Basic.Consume.index) + b"\x00\x00" + encode_short_string(queue)
    return _frame(channel, payload + encode_short_string(consumer_tag) + b"\x00" + encode.field_table({}))


def encode_connection_open(vhost: str) -> bytes:
    """``connection.open``."""
    return _frame(0, _INDEX.pack(commands.Connection.Open.index) + encode_short_string(vhost) + b"\x00\x00")


def encode_ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """``basic.ack`` of a delivery."""
    return _ACK_FRAME.pack(_METHOD, channel, _ACK_SIZE, _ACK, tag, multiple, _END)


def encode_requeue(channel: int, tag: int) -> bytes:
    """``basic.nack`` of one delivery with requeue."""
    return _ACK_FRAME.pack(_METHOD, channel, _ACK_SIZE, _NACK, tag, 2, _END)


def encode_publish(channel: int, exchange: str, queue: str) -> bytes:
    """The method frame of a mandatory publish: the same octets for every message of a queue."""
    payload = _INDEX.pack(commands.Basic.Publish.index) + b"\x00\x00" + encode_short_string(exchange)
    return _frame(channel, payload + encode_short_string(queue) + b"\x01")


def encode_message(
    publish: bytes, channel: int, block: bytes, body: bytes, frame_max: int
) -> tuple[bytes | memoryview, ...]:
    """All frames of a publish as pieces to be written in this order; ``body`` is not copied.

    ``publish`` comes from `encode_publish`, ``block`` is the encoded property block.
    """
    size = len(body)
    header = _HEADER_FRAME.pack(_HEADER, channel, _CONTENT_SIZE + len(block), _CLASS_BASIC << 16, size)
    if 0 < size <= frame_max - _OVERHEAD:
        return publish, header, block, _END_AND_FRAME.pack(_END, _BODY, channel, size), body, b"\xce"
    largest = frame_max - _OVERHEAD
    view = memoryview(body)
    pieces: list[bytes | memoryview] = [publish, header, block]
    for start in range(0, size, largest):
        part = view[start : start + largest]
        pieces += (_END_AND_FRAME.pack(_END, _BODY, channel, len(part)), part)
    pieces.append(b"\xce")
    return tuple(pieces)
