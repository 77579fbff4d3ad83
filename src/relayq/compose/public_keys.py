"""Public keys from DNS, and signatures that somebody else made (RFC 6376 sections 3.6.1 and 6.1, RFC 8463)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

_MIN_RSA_BITS, _MAX_RSA_BITS = 1024, 8192
_ED25519_OCTETS = 32
_MAX_TAG_LIST_OCTETS = 65_536
_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BLANKS = re.compile(r"[ \t\r\n]+")
_RSA_PADDING = PKCS1v15()
_RSA_DIGEST = Prehashed(SHA256())


def parse_tags(value: bytes) -> dict[str, str] | None:
    """Tags of a list as in ``a=b; c=d`` (RFC 6376 section 3.2), ``None`` if it is none.

    White space around names and values is dropped, what is inside stays.
    """
    if len(value) > _MAX_TAG_LIST_OCTETS:
        return None
    try:
        pieces = value.decode("utf-8").split(";")
    except UnicodeDecodeError:
        return None
    if not pieces[-1].strip(" \t\r\n"):
        pieces.pop()
    tags: dict[str, str] = {}
    for piece in pieces:
        name, equals, content = piece.partition("=")
        name = name.strip(" \t\r\n")
        if not equals or name in tags or not _TAG_NAME.fullmatch(name):
            return None
        tags[name] = content.strip(" \t\r\n")
    return tags


def decode_tag(text: str) -> bytes | None:
    """Octets of a tag in base64, which may be folded; ``None`` for anything else."""
    try:
        return base64.b64decode(_BLANKS.sub("", text), validate=True)
    except (binascii.Error, ValueError):
        return None


class PublicKey:
    """A key that verifies signatures of one algorithm."""

    __slots__ = ("_key",)

    def __init__(self, key: RSAPublicKey | Ed25519PublicKey) -> None:
        self._key = key

    def verifies(self, algorithm: str, signature: bytes, digest: bytes) -> bool:
        """Whether a signature over a SHA-256 digest was made with the private key.

        Args:
            algorithm: Value of ``a=``.
            signature: Octets of ``b=``.
            digest: What was signed.
        """
        try:
            if isinstance(self._key, RSAPublicKey):
                if algorithm != "rsa-sha256":
                    return False
                self._key.verify(signature, digest, _RSA_PADDING, _RSA_DIGEST)
            else:
                if algorithm != "ed25519-sha256":
                    return False
                self._key.verify(signature, digest)
        except (InvalidSignature, ValueError):
            return False
        return True


def parse_public_key(record: str) -> PublicKey | None:
    """The key of a TXT record; ``None`` if it is revoked, meant for something else, or no key."""
    tags = parse_tags(record.encode("utf-8", "replace"))
    if tags is None or tags.get("v", "DKIM1") != "DKIM1" or not _is_for_mail(tags):
        return None
    octets = decode_tag(tags.get("p", ""))
    if not octets:
        return None
    kind = tags.get("k", "rsa")
    try:
        if kind == "ed25519" and len(octets) == _ED25519_OCTETS:
            return PublicKey(Ed25519PublicKey.from_public_bytes(octets))
        key = load_der_public_key(octets) if kind == "rsa" else None
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(key, RSAPublicKey) and _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        return PublicKey(key)
    return None


def _is_for_mail(tags: Mapping[str, str]) -> bool:
    services = _words(tags.get("s", "*"))
    return ("*" in services or "email" in services) and "sha256" in _words(tags.get("h", "sha256"))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(":")]
