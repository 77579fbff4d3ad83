"""SASL mechanisms of the client: which to try, and what to send (spec delivery.md 11)."""

from __future__ import annotations

import base64
import binascii
import hmac
import stringprep
import unicodedata

import msgspec

from relayq.smtp.capabilities import Capabilities
from relayq.smtp.errors import LocalProtocolError

CRAM_MD5 = "CRAM-MD5"
PLAIN = "PLAIN"
LOGIN = "LOGIN"

PREFERENCE = (CRAM_MD5, PLAIN, LOGIN)
"""The one that hides the secret first; LOGIN only where nothing better is announced."""
_HIDES_SECRET = frozenset({CRAM_MD5})


class Credentials(msgspec.Struct, frozen=True):
    """User name and password for a smarthost."""

    username: str
    password: str

    def __repr__(self) -> str:
        """Without the password: this lands in logs."""
        return f"Credentials({self.username!r})"


def choose_mechanisms(capabilities: Capabilities, *, is_encrypted: bool, allow_clear: bool) -> tuple[str, ...]:
    """Mechanisms to try in this order; those that show the secret only where nobody can listen, or if allowed."""
    return tuple(
        name
        for name in PREFERENCE
        if name in capabilities.auth and (is_encrypted or allow_clear or name in _HIDES_SECRET)
    )


def encode_plain(credentials: Credentials) -> bytes:
    """Message of PLAIN in base64 (RFC 4616 section 2), without an authorisation identity.

    Raises:
        LocalProtocolError: A NUL in name or password would shift the boundary between them.
    """
    if "\0" in credentials.username or "\0" in credentials.password:
        raise LocalProtocolError("NUL in the credentials")
    return _encode_base64(f"\0{prepare(credentials.username)}\0{prepare(credentials.password)}")


def encode_secret(text: str) -> bytes:
    """User name or password of LOGIN: prepared, in base64."""
    return _encode_base64(prepare(text))


def answer_challenge(credentials: Credentials, challenge: bytes) -> bytes | None:
    """Response of CRAM-MD5 in base64 (RFC 2195 section 2), ``None`` when the challenge is not base64."""
    try:
        octets = binascii.a2b_base64(challenge.strip(), strict_mode=True)
    except binascii.Error:
        return None
    digest = hmac.new(prepare(credentials.password).encode("utf-8", "replace"), octets, "md5").hexdigest()
    return _encode_base64(f"{prepare(credentials.username)} {digest}")


def prepare(text: str) -> str:
    """SASLprep (RFC 4013) of a user name or password.

    What it forbids is left as it is: a server that took such a password once knows it in no other form.
    """
    if text.isascii():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    return text if any(is_in(char) for is_in in _PROHIBITED for char in prepared) else prepared


def _encode_base64(text: str) -> bytes:
    return base64.b64encode(text.encode("utf-8", "replace"))


_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
