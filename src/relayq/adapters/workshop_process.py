"""A process that makes messages for a worker: ``python -m relayq.adapters.workshop_process``.

It reads frames from standard input and answers each on standard output: two lengths of four octets, then a record in
MessagePack, then the octets of a message, which are taken out of the record: so neither side holds them once as they
are and once as a frame. The first frame holds the rules, and is answered by an empty one: ready. All others are orders.
The process ends with its input. See `relayq.adapters.workshop`.
"""

from __future__ import annotations

import os
import secrets
import signal
import struct
import sys
import time
from typing import BinaryIO

import msgspec

from relayq.adapters.allocator import return_large_blocks
from relayq.compose.making import Conversion, Made, Maker, MakingRules, Order, OrderOutcome

LENGTHS = struct.Struct(">II")
_NICENESS = 5

_encode = msgspec.msgpack.Encoder().encode
_decode_outcome = msgspec.msgpack.Decoder(OrderOutcome).decode
_decode_order = msgspec.msgpack.Decoder(Order | Conversion).decode
_replace = msgspec.structs.replace


def encode_order(order: Order | Conversion) -> tuple[bytes, bytes]:
    """Record and octets."""
    if isinstance(order, Conversion):
        return _encode(_replace(order, octets=b"")), order.octets
    if order.mime_object is not None:
        return _encode(_replace(order, mime_object=b"")), order.mime_object
    return _encode(_replace(order, mime=b"")), order.mime


def decode_order(record: bytes, octets: bytes) -> Order | Conversion:
    """The other way round."""
    order: Order | Conversion = _decode_order(record)
    if isinstance(order, Conversion):
        return _replace(order, octets=octets)
    return _replace(order, mime=octets) if order.mime_object is None else _replace(order, mime_object=octets)


def encode_outcome(outcome: OrderOutcome) -> tuple[bytes, bytes]:
    """Record and octets."""
    if isinstance(outcome, Made):
        return _encode(_replace(outcome, octets=b"")), outcome.octets
    return _encode(outcome), b""


def decode_outcome(record: bytes, octets: bytes) -> OrderOutcome:
    """The other way round.

    Raises:
        msgspec.DecodeError: It is none.
    """
    outcome: OrderOutcome = _decode_outcome(record)
    return _replace(outcome, octets=octets) if isinstance(outcome, Made) else outcome


def main() -> None:
    """Serve until the input ends."""
    # The worker drains on these signals, and needs its messages made meanwhile; it closes the input when it is done.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Whoever waits for a message here waits anyway; the sessions of the worker should not.
    os.nice(_NICENESS)
    return_large_blocks()
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        # The worker is gone; nothing may be written any more, not even by the interpreter on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Make what is ordered, one after the other."""
    introduction = _read(source)
    if introduction is None:
        return
    rules, _ = introduction
    # Processor time: on a busy machine a message must not fail because others were served first.
    maker = Maker(msgspec.msgpack.decode(rules, type=MakingRules), time.process_time, _make_boundary)
    _write(target, b"", b"")
    while _serve_one(maker, source, target):
        pass


def _serve_one(maker: Maker, source: BinaryIO, target: BinaryIO) -> bool:
    """Nothing of a large message is left when this ends; false at the end of the input."""
    frame = _read(source)
    if frame is None:
        return False
    _write(target, *encode_outcome(maker.make(decode_order(*frame))))
    return True


def _read(source: BinaryIO) -> tuple[bytes, bytes] | None:
    """One frame, ``None`` at the end of the input."""
    head = source.read(LENGTHS.size)
    if len(head) < LENGTHS.size:
        return None
    sizes = LENGTHS.unpack(head)
    record, octets = (source.read(size) for size in sizes)
    return (record, octets) if (len(record), len(octets)) == sizes else None


def _write(target: BinaryIO, record: bytes, octets: bytes) -> None:
    target.write(LENGTHS.pack(len(record), len(octets)))
    target.write(record)
    target.write(octets)
    target.flush()


def _make_boundary() -> str:
    return f"=_{secrets.token_hex(16)}"


if __name__ == "__main__":
    main()
