"""Free TCP ports on loopback addresses.

Ports come from below the kernel's ephemeral range. An ephemeral port that is free now may be taken by any outgoing
connection a moment later, and a client that reconnects to a closed ephemeral port on its own host can even connect to
itself (TCP simultaneous open): both make tests that restart a server fail now and then.

Tests run in several processes side by side, and a port is chosen some time before somebody listens on it, or is chosen
because nobody ever will. So each process has a block of ports to itself. It claims the block with a socket in Linux's
abstract namespace, which belongs to the same network namespace as the ports and is gone when the process is.
"""

from __future__ import annotations

import random
import socket
from collections import deque
from pathlib import Path

LOWEST_PORT = 10_000
EPHEMERAL_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
DEFAULT_EPHEMERAL_START = 32_768
BLOCK = 400  # ports; more than any number of tests has in use at the same time
CLAIM = "\0relayq-tests-ports-{start}"

_random = random.SystemRandom()  # hypothesis seeds the usual one alike in every process


def free_port(*hosts: str) -> int:
    """Return a TCP port that nobody listens on, on every one of ``hosts`` (default ``127.0.0.1``).

    No other process is given it, and this one not again before it was given all others of its block: two servers that
    are configured before either is started do not collide.

    Raises:
        RuntimeError: there is none in this process's block.
    """
    addresses = hosts or ("127.0.0.1",)
    for _ in range(len(_ports)):
        port = _ports[0]
        _ports.rotate(-1)
        if all(_can_listen(address, port) for address in addresses):
            return port
    raise RuntimeError(f"no free port on {', '.join(addresses)} from {min(_ports)} to {max(_ports)}")


def _claimed_block() -> list[int]:
    """Ports of a block nobody else has, in no order; of any block when all of them are taken."""
    starts = list(range(LOWEST_PORT, _ephemeral_start() - BLOCK + 1, BLOCK))
    _random.shuffle(starts)
    start = next((start for start in starts if _claim(start)), starts[0])
    return _random.sample(range(start, start + BLOCK), BLOCK)


def _claim(start: int) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
        try:
            claim.bind(CLAIM.format(start=start))
        except OSError:
            return False
        claim.detach()  # stays open until this process ends
    return True


def _ephemeral_start() -> int:
    try:
        lowest = int(EPHEMERAL_RANGE_FILE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        lowest = DEFAULT_EPHEMERAL_START
    # A machine tuned to use nearly every port as ephemeral leaves no room below: then any port has to do.
    return lowest if lowest >= LOWEST_PORT + BLOCK else DEFAULT_EPHEMERAL_START


def _can_listen(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
    return True


_ports = deque(_claimed_block())  # at once, because some tests compare how many sockets there are before and after
