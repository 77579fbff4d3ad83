"""Loopback addresses for servers whose port is given."""

from __future__ import annotations

import random
import socket

ATTEMPTS = 50


def has_ipv6() -> bool:
    """Whether this machine has ``::1``; many containers do not."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def free_address(port: int) -> str:
    """An address of 127.0.0.0/8 where nobody listens on ``port``; different ones for sessions that run side by side.

    Raises:
        RuntimeError: None was found in a bounded number of tries, or the port needs more privileges.
    """
    for _ in range(ATTEMPTS):
        address = f"127.{random.randrange(20, 250)}.{random.randrange(250)}.{random.randrange(1, 250)}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return address
    raise RuntimeError(f"no free address for port {port}")
