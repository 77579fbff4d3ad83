"""What the DNS says about the certificate of a host (RFC 6698)."""

from __future__ import annotations

import msgspec


class TlsaRecord(msgspec.Struct, frozen=True):
    """What a host's certificate has to match (RFC 6698 section 2.1); numbers as on the wire."""

    usage: int
    selector: int
    matching_type: int
    association: bytes
