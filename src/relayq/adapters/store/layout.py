"""Where a directory store keeps what: names only, no file is touched (spec storage.md 6).

Other programs compute the same paths, so nothing here may change.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

EXPIRY_FOLDER = ".expire"
GZIP_SUFFIX = ".gz"
TEMPORARY_PREFIX = ".tmp-"
LONGEST_NAME_BYTES = 200

_LAST_INSTANT = 253402300799.0  # end of the year 9999, the last one `datetime` knows
_HASHED = re.compile(r"sha256-([0-9a-f]{64})")
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_ESCAPES = [chr(octet) if octet in _SAFE else f"%{octet:02X}" for octet in range(256)]


def file_name(key: str) -> str:
    """Name of the file of a key, without suffix: safe in any directory, different for different keys."""
    octets = key.encode("utf-8")
    name = "".join([_ESCAPES[octet] for octet in octets])
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > LONGEST_NAME_BYTES:
        return f"sha256-{hashlib.sha256(octets).hexdigest()}"
    return name


def folder_of(key: str, depth: int) -> str:
    """Relative path of the folder of a key: one level per hex digit of its SHA-256, in order."""
    return "/".join(hashlib.sha256(key.encode("utf-8")).hexdigest()[:depth])


def folder_of_name(name: str, depth: int) -> str:
    """`folder_of` for a file name."""
    if (hashed := _HASHED.fullmatch(name)) is not None:
        return "/".join(hashed[1][:depth])
    octets = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), name.encode("ascii"))
    return "/".join(hashlib.sha256(octets).hexdigest()[:depth])


def expiry_hour(expire_at: float) -> str:
    """Name of the folder that lists what expires in the hour (UTC) of a time stamp."""
    return datetime.fromtimestamp(min(max(expire_at, 0.0), _LAST_INSTANT), UTC).strftime("%Y%m%d%H")
