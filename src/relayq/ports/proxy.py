"""Where downloads go through when nothing may connect to the web directly."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAddress:
    """A proxy that connects to addresses it is told, read from its address (spec config.md 8.7).

    Attributes:
        scheme: ``http`` (RFC 9110 section 9.3.6, CONNECT) or ``socks`` (RFC 1928, version 5).
        host: Name or IP address; IPv6 without brackets.
        port: Its port.
        username: Percent-decoded, ``None`` when it asks for no login.
        password: Percent-decoded, ``None`` exactly when ``username`` is; never shown.
    """

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
