"""Percent-encoding in the parts of broker and store addresses (RFC 3986 section 2.1)."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from relayq.config.problems import BadValueError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def decode_part(text: str, part: str) -> str:
    """Text of one part of an address; ``part`` is what an error calls it.

    Raises:
        BadValueError: A ``%`` that encodes nothing, text that is not UTF-8, or a control character.
    """
    if _BROKEN_ESCAPE.search(text):
        raise BadValueError(f"has a % without two hexadecimal digits in the {part}: write it as %25")
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeError:
        raise BadValueError(f"has a {part} that is not UTF-8") from None
    if _CONTROL.search(decoded):
        raise BadValueError(f"has a control character in the {part}")
    return decoded
