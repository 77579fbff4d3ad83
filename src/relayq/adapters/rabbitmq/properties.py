"""Property blocks of AMQP 0-9-1 content headers ⇄ `Properties`.

A block is a 16 bit word of flags and the values of the flagged properties. What must not survive a republication
(spec amqp.md 7) is dropped while decoding: ``user-id``, ``expiration``, ``content-type`` and the broker's bookkeeping
headers. The remaining headers stay an encoded field table, so no value changes its type on the way through.
"""

from __future__ import annotations

import struct

from relayq.adapters.rabbitmq.errors import ProtocolError
from relayq.ports import Properties

CONTENT_TYPE = 1 << 15
CONTENT_ENCODING = 1 << 14
HEADERS = 1 << 13
DELIVERY_MODE = 1 << 12
PRIORITY = 1 << 11
CORRELATION_ID = 1 << 10
REPLY_TO = 1 << 9
EXPIRATION = 1 << 8
MESSAGE_ID = 1 << 7
TIMESTAMP = 1 << 6
TYPE = 1 << 5
USER_ID = 1 << 4
APP_ID = 1 << 3
CLUSTER_ID = 1 << 2

JSON_TYPE = b"\x10application/json"
PERSISTENT = 2
TRANSIENT = 1

# Blocks repeat when producers set no per-message property; longer ones are not worth the memory.
CACHED_BLOCKS = 1024
LONGEST_CACHED_BLOCK = 512

COPY_OCTETS = 16
_LONGEST_SHORT_STRING = 255
_TIMESTAMP_MASK = (1 << 64) - 1
_UINT16 = struct.Struct(">H")
_UINT32 = struct.Struct(">I")
_UINT64 = struct.Struct(">Q")

# Spec amqp.md 7: bookkeeping of the broker, and CC/BCC, which would route extra copies.
_DELIVERY_COUNT = b"x-delivery-count"
_DROPPED_HEADERS = frozenset({b"x-death", _DELIVERY_COUNT, b"x-acquired-count", b"x-delay", b"CC", b"BCC"})
COPY_HEADER = b"x-relayq-copy"
"""Identity of a copy this program published to the outbox, in hexadecimal digits; never repeated."""
_DROPPED_HEADERS |= {COPY_HEADER}
_DROPPED_PREFIXES = (b"x-first-death-", b"x-last-death-")

# Octets of a field value after its type octet (RabbitMQ's errata of the field types); long ones carry their length.
_FIXED_FIELDS = {
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"suU", 2),
    **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"lLTd", 8),
    ord("D"): 5,
    ord("V"): 0,
}
_LONG_FIELDS = frozenset(b"SxAF")
_LONG_STRING = ord("S")
_SIGNED_FIELDS = frozenset(b"bsIlL")


class PropertyDecoder:
    """Decodes property blocks, remembering recent ones."""

    def __init__(self) -> None:
        self._cache: dict[bytes, Properties] = {}

    def decode(self, block: bytes) -> Properties:
        """Properties of a block, flags included.

        Raises:
            ProtocolError: Not a property block.
        """
        found = self._cache.get(block)
        if found is not None:
            return found
        properties = decode_properties(block)
        if len(block) <= LONGEST_CACHED_BLOCK and not properties.copy_id:  # no two copies have one identity
            if len(self._cache) >= CACHED_BLOCKS:
                self._cache.clear()
            self._cache[block] = properties
        return properties


def decode_properties(block: bytes) -> Properties:  # noqa: C901 - one branch per property, in wire order
    """Decode one property block, flags included.

    One branch each, because every message that was published to be tried again has a block that was never seen before:
    reading by a table took 30 to 50 % longer.

    Raises:
        ProtocolError: Truncated, over-long, or with flags AMQP 0-9-1 does not define.
    """
    if len(block) < 2:
        raise ProtocolError("property block without flags")
    flags = (block[0] << 8) | block[1]
    if flags & 0b11:
        raise ProtocolError("property flags that AMQP 0-9-1 does not define")
    position = 2
    content_encoding = correlation_id = reply_to = message_id = kind = app_id = None
    priority = timestamp = None
    headers = copy_id = b""
    delivery_count = 0
    persistent = False
    try:
        if flags & CONTENT_TYPE:
            position += 1 + block[position]
        if flags & CONTENT_ENCODING:
            content_encoding, position = _short_string(block, position)
        if flags & HEADERS:
            headers, delivery_count, copy_id, position = _headers(block, position)
        if flags & DELIVERY_MODE:
            persistent = block[position] == PERSISTENT
            position += 1
        if flags & PRIORITY:
            priority = block[position]
            position += 1
        if flags & CORRELATION_ID:
            correlation_id, position = _short_string(block, position)
        if flags & REPLY_TO:
            reply_to, position = _short_string(block, position)
        if flags & EXPIRATION:
            position += 1 + block[position]
        if flags & MESSAGE_ID:
            message_id, position = _short_string(block, position)
        if flags & TIMESTAMP:
            timestamp = _UINT64.unpack_from(block, position)[0]
            position += 8
        if flags & TYPE:
            kind, position = _short_string(block, position)
        if flags & USER_ID:
            position += 1 + block[position]
        if flags & APP_ID:
            app_id, position = _short_string(block, position)
        if flags & CLUSTER_ID:
            position += 1 + block[position]
    except (IndexError, struct.error):
        raise ProtocolError("property block ends in the middle of a property") from None
    if position != len(block):
        raise ProtocolError("property block does not end where its properties do")
    return Properties(
        content_encoding=content_encoding, persistent=persistent, priority=priority, correlation_id=correlation_id,
        reply_to=reply_to, message_id=message_id, type=kind, app_id=app_id, timestamp=timestamp,
        headers=headers, delivery_count=delivery_count, copy_id=copy_id,
    )  # fmt: skip


def _short_string(block: bytes, position: int) -> tuple[str, int]:
    start = position + 1
    end = start + block[position]
    # The broker does not check the text; what is no UTF-8 must still be harmless text for everything above.
    return block[start:end].decode("utf-8", "replace"), end


def _headers(block: bytes, position: int) -> tuple[bytes, int, bytes, int]:
    """Headers that may be republished, hand-outs a quorum queue counted, identity of a copy, where the table ends."""
    start = position + 4
    end = start + _UINT32.unpack_from(block, position)[0]
    if end > len(block):
        raise ProtocolError("header table longer than its block")
    kept, count, copy_id = read_table(block[start:end])
    return kept, count, copy_id, end


def read_table(table: bytes) -> tuple[bytes, int, bytes]:
    """A field table (without its length) without the headers that must not be republished, and what two of those say.

    A table that cannot be understood is cut at the first entry of unknown type: closing the connection over it would
    bring the same message back for ever.
    """
    if b"x-" not in table and b"CC" not in table:
        return table, 0, b""
    kept: list[bytes] = []
    count, copy_id = 0, b""
    position = 0
    while position < len(table) and (end := _field_end(table, position)) is not None:
        type_position = position + 1 + table[position]
        name = table[position + 1 : type_position]
        if name == COPY_HEADER:
            copy_id = copy_id or _copy_id(table[type_position:end])
        elif name == _DELIVERY_COUNT:
            count = count or _delivery_count(table[type_position:end])
        elif name not in _DROPPED_HEADERS and not name.startswith(_DROPPED_PREFIXES):
            kept.append(table[position:end])
        position = end
    return b"".join(kept), count, copy_id


def _delivery_count(field: bytes) -> int:
    """Value of ``x-delivery-count`` behind its type octet, 0 when it is no count."""
    return max(int.from_bytes(field[1:], "big", signed=True), 0) if field[0] in _SIGNED_FIELDS else 0


def _copy_id(field: bytes) -> bytes:
    """What the header says behind type and length; empty when it is not of our making."""
    if field[0] != _LONG_STRING:
        return b""
    try:
        copy_id = bytes.fromhex(field[5:].decode("ascii"))
    except ValueError:
        return b""
    return copy_id if len(copy_id) == COPY_OCTETS else b""


def _field_end(table: bytes, position: int) -> int | None:
    """Where the table entry at ``position`` ends, ``None`` when it is damaged or of unknown type."""
    type_position = position + 1 + table[position]
    if type_position >= len(table):
        return None
    kind = table[type_position]
    end = type_position + 1
    if kind in _LONG_FIELDS:
        if end + 4 > len(table):
            return None
        end += 4 + int(_UINT32.unpack_from(table, end)[0])
    elif kind in _FIXED_FIELDS:
        end += _FIXED_FIELDS[kind]
    else:
        return None
    return end if end <= len(table) else None


def encode_properties(
    properties: Properties,
    *,
    persistent: bool,
    content_encoding: str | None,
    has_priority: bool = True,
    copy_id: bytes = b"",
) -> bytes:
    """Encode a property block, flags included.

    Args:
        properties: What is carried over; its ``persistent``, ``content_encoding`` and ``copy_id`` are not looked at.
        persistent: Delivery mode 2 instead of 1.
        content_encoding: As published, ``None`` = absent.
        has_priority: ``False`` leaves the priority out.
        copy_id: Identity of a copy for the outbox, empty for none.
    """
    flags = CONTENT_TYPE | DELIVERY_MODE
    parts = [b"", JSON_TYPE]
    if content_encoding is not None:
        flags |= CONTENT_ENCODING
        parts.append(encode_short_string(content_encoding))
    headers = properties.headers + _copy_field(copy_id) if copy_id else properties.headers
    if headers:
        flags |= HEADERS
        parts += (_UINT32.pack(len(headers)), headers)
    parts.append(b"\x02" if persistent else b"\x01")
    if has_priority and properties.priority is not None:
        flags |= PRIORITY
        parts.append(bytes((min(max(properties.priority, 0), 255),)))
    if properties.correlation_id is not None:
        flags |= CORRELATION_ID
        parts.append(encode_short_string(properties.correlation_id))
    if properties.reply_to is not None:
        flags |= REPLY_TO
        parts.append(encode_short_string(properties.reply_to))
    if properties.message_id is not None:
        flags |= MESSAGE_ID
        parts.append(encode_short_string(properties.message_id))
    if properties.timestamp is not None:
        flags |= TIMESTAMP
        parts.append(_UINT64.pack(properties.timestamp & _TIMESTAMP_MASK))
    if properties.type is not None:
        flags |= TYPE
        parts.append(encode_short_string(properties.type))
    if properties.app_id is not None:
        flags |= APP_ID
        parts.append(encode_short_string(properties.app_id))
    parts[0] = _UINT16.pack(flags)
    return b"".join(parts)


def _copy_field(copy_id: bytes) -> bytes:
    value = copy_id.hex().encode("ascii")
    return bytes((len(COPY_HEADER),)) + COPY_HEADER + b"S" + _UINT32.pack(len(value)) + value


def encode_short_string(text: str) -> bytes:
    """One length octet and UTF-8; text over 255 octets is cut at a character."""
    octets = text.encode("utf-8", "replace")
    if len(octets) > _LONGEST_SHORT_STRING:
        octets = octets[:_LONGEST_SHORT_STRING].decode("utf-8", "ignore").encode("utf-8")
    return bytes((len(octets),)) + octets
