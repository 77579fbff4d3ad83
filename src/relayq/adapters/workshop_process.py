"""A process that makes messages for a worker: ``python -m relayq.adapters.workshop_process``.

It reads frames from standard input and answers each on standard output: four octets of length, then MessagePack. The
first frame holds the rules, and is answered by an empty one: ready. All others are orders. The process ends with its
input. See `relayq.adapters.workshop`.
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
from relayq.compose.making import Conversion, Maker, MakingRules, Order, OrderOutcome

LENGTH = struct.Struct(">I")
_NICENESS = 5

encode_frame_body = msgspec.msgpack.Encoder().encode
decode_outcome = msgspec.msgpack.Decoder(OrderOutcome).decode
_decode_order = msgspec.msgpack.Decoder(Order | Conversion).decode


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
    rules = _read(source)
    if rules is None:
        return
    # Processor time: on a busy machine a message must not fail because others were served first.
    maker = Maker(msgspec.msgpack.decode(rules, type=MakingRules), time.process_time, _make_boundary)
    _write(target, b"")
    while (order := _read_order(source)) is not None:
        _write(target, encode_frame_body(maker.make(order)))


def _read_order(source: BinaryIO) -> Order | Conversion | None:
    """The next one; its frame is gone when it is made, for both hold the whole of a large message."""
    frame = _read(source)
    return None if frame is None else _decode_order(frame)


def _read(source: BinaryIO) -> bytes | None:
    """One frame, ``None`` at the end of the input."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    body = source.read(size)
    return body if len(body) == size else None


def _write(target: BinaryIO, body: bytes) -> None:
    target.write(LENGTH.pack(len(body)))
    target.write(body)
    target.flush()


def _make_boundary() -> str:
    return f"=_{secrets.token_hex(16)}"


if __name__ == "__main__":
    main()
