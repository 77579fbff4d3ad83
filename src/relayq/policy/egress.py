"""Which local address a message leaves from (spec delivery.md 7)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from relayq.model import Message


def allowed_egress_ips(message: Message, default_ips: tuple[str, ...]) -> tuple[str | None, ...]:
    """Addresses to choose from; ``None`` as an entry lets the host choose, an empty tuple means none is usable."""
    if message.ips is not None:
        return message.ips
    return default_ips or (None,)


@functools.lru_cache(maxsize=1024)
def families_of(allowed: tuple[str | None, ...]) -> tuple[bool, bool]:
    """Whether there are IPv4 addresses among those to choose from, and IPv6 ones; the host's choice counts as IPv4."""
    return (
        any(ip is None or ":" not in ip for ip in allowed),
        any(ip is not None and ":" in ip for ip in allowed),
    )


def order_egress_ips(
    allowed: Sequence[str | None],
    previous: str | None,
    *,
    ipv6: bool,
    has_idle: Callable[[str | None], bool],
    shuffle: Callable[[list[str | None]], None],
) -> list[str | None]:
    """Allowed addresses of the remote's family, the best first.

    The previous one leads, because greylisting is keyed on it; then those with an idle connection; the rest is random.
    """
    fitting = [ip for ip in allowed if ip is None or (":" in ip) == ipv6]
    if len(fitting) > 1:
        shuffle(fitting)
        fitting.sort(key=lambda ip: (ip != previous or previous is None, not has_idle(ip)))
    return fitting
