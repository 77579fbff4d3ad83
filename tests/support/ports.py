"""Free TCP ports on loopback addresses.

Ports come from below the kernel's ephemeral range. An ephemeral port that is free now may be taken by any outgoing
connection a moment later, and a client that reconnects to a closed ephemeral port on its own host can even connect to
itself (TCP simultaneous open): both make tests that restart a server fail now and then.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST_PORT = 10_000
EPHEMERAL_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
DEFAULT_EPHEMERAL_START = 32_768
ATTEMPTS = 200

_handed_out: set[int] = set()


def free_port(*hosts: str) -> int:
    """Return a TCP port that nobody listens on, on every one of ``hosts`` (default ``127.0.0.1``).

    A port is returned once per process, so that two servers configured before either is started do not collide.

    Raises:
        RuntimeError: no free port was found in a bounded number of tries.
    """
    addresses = hosts or ("127.0.0.1",)
    highest = _ephemeral_start()
    for _ in range(ATTEMPTS):
        port = random.randrange(LOWEST_PORT, highest)
        if port not in _handed_out and all(_can_listen(address, port) for address in addresses):
            _handed_out.add(port)
            return port
    raise RuntimeError(f"no free port on {', '.join(addresses)} after {ATTEMPTS} tries")


def _ephemeral_start() -> int:
    try:
        lowest = int(EPHEMERAL_RANGE_FILE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        lowest = DEFAULT_EPHEMERAL_START
    # A machine tuned to use nearly every port as ephemeral leaves no room below: then any port has to do.
    return lowest if lowest > LOWEST_PORT + ATTEMPTS else DEFAULT_EPHEMERAL_START


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
