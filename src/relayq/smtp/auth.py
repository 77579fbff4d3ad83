"""SASL mechanisms of the client: which to try, and what to send (spec delivery.md 11)."""

from __future__ import annotations

import base64
import binascii
import hmac

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
    return encode_base64(f"\0{credentials.username}\0{credentials.password}")


def encode_base64(text: str) -> bytes:
    """UTF-8 octets of ``text`` in base64, on one line."""
    return base64.b64encode(text.encode("utf-8", "replace"))


def answer_challenge(credentials: Credentials, challenge: bytes) -> bytes | None:
    """Response of CRAM-MD5 in base64 (RFC 2195 section 2), ``None`` when the challenge is not base64."""
    try:
        octets = binascii.a2b_base64(challenge.strip(), strict_mode=True)
    except binascii.Error:
        return None
    digest = hmac.new(credentials.password.encode("utf-8", "replace"), octets, "md5").hexdigest()
    return encode_base64(f"{credentials.username} {digest}")
