"""Signing keys: the entries of ``dkim`` and the private keys in them (spec html-css-dkim.md 4.1 and 4.2).

An entry (`SigningKey`) is cheap to read and says what to sign with; its key material stays text until something is
signed. `PrivateKeys` turns that text into a key once and remembers it by digest, so that the secret itself is never the
key of a table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from relayq.compose.errors import ComposeError
from relayq.model import InvalidAddressError, parse_domain
from relayq.model.values import as_bool, as_integer, as_text, as_timestamp

MIN_RSA_BITS = 1024
"""RFC 8301 section 3.2: nobody verifies less."""
MAX_RSA_BITS = 8192
"""One signature with 8192 bits takes most of a second; verifiers need not support more than 4096 (RFC 8301)."""
MAX_CACHED_KEYS = 1024

_USUAL_RSA_BITS = (2048, 4096)
_MAX_KEY_CHARACTERS = 16_384  # an 8192 bit key in PEM has 6400
_MAX_KEY_NAME_OCTETS = 253
_MAX_IDENTITY_OCTETS = 254
_SEED_OCTETS = 32
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*+")
_CANONICALIZATION = re.compile(r"(simple|relaxed)(?:/(simple|relaxed))?")
_ARMOUR = re.compile(r"-----BEGIN ([A-Z0-9 ]{0,40})-----(.*?)(?:-----|\Z)", re.DOTALL)
_PEM_LABELS = frozenset(("RSA PRIVATE KEY", "PRIVATE KEY"))
_PROTOCOLS = frozenset(("dkim", "arc"))
_ALGORITHMS = frozenset(("sha256", "sha1"))

# dkim-quoted-printable, RFC 6376 section 2.11: what may stand for itself.
_SAFE = frozenset(range(0x21, 0x7F)) - frozenset(b";=")

_RSA_PADDING = PKCS1v15()
_RSA_DIGEST = Prehashed(SHA256())


class SigningKeyError(ComposeError):
    """An entry of ``dkim`` with a missing member or one of a wrong type: not a usable message."""


class UnusableKeyError(ComposeError):
    """A well-formed entry that cannot sign: the key material or the identity is not usable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One entry: what to sign with, and how.

    Attributes:
        domain: ``d=``, lower-case A-labels.
        selector: ``s=``.
        key: Private key as text, in one of the forms of spec html-css-dkim.md 4.2.
        expire_at: ``x=``; from then on the entry is skipped. ``None``: never.
        headers: Names signed beyond the standard set, lower case.
        header_canonicalization: ``relaxed`` or ``simple``.
        body_canonicalization: The same for the body.
        protocols: ``dkim``, ``arc`` or both.
        report: Ask for failure reports (``r=y``, RFC 6651).
        priority: A lower number stands further up in the message.
        oversign: Sign absent instances too, so that none can be added (spec html-css-dkim.md 4.4).
        identity: ``i=``, checked only when it is used; ``None``: left out.
        is_required: The sender asked for this signature in the message, so leaving it out is an error.
        warnings: What to tell the log about this entry.
    """

    domain: str
    selector: str
    key: str = field(repr=False)
    expire_at: datetime | None = None
    headers: tuple[bytes, ...] = ()
    header_canonicalization: str = "relaxed"
    body_canonicalization: str = "simple"
    protocols: frozenset[str] = frozenset(("dkim",))
    report: bool = False
    priority: int = 0
    oversign: bool = True
    identity: str | None = None
    is_required: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Where the public key is published in DNS."""
        return f"{self.selector}._domainkey.{self.domain}"


def parse_signing_keys(value: object, *, oversign: bool = True, is_required: bool = True) -> tuple[SigningKey, ...]:
    """Entries of a decoded ``dkim`` member: an object, an array of objects, or ``None``.

    Unknown members are ignored, and a member that is null counts as absent.

    Args:
        value: Decoded JSON.
        oversign: Value of ``oversign`` where an entry has none (``dkim-oversign``).
        is_required: See `SigningKey`.

    Raises:
        SigningKeyError: A missing member or a wrong value; names the member, never quotes it.
    """
    if value is None:
        return ()
    entries = value if isinstance(value, list) else [value]
    return tuple(_parse_entry(entry, oversign=oversign, is_required=is_required) for entry in entries)


def _parse_entry(entry: object, *, oversign: bool, is_required: bool) -> SigningKey:
    if entry == []:
        entry = {}
    if not isinstance(entry, dict):
        raise SigningKeyError("dkim: expected an object or an array of objects")
    given = {name: value for name, value in entry.items() if value is not None}
    found: dict[str, Any] = {"oversign": oversign, "is_required": is_required}
    for member, parse in _MEMBERS.items():
        if member in given:
            try:
                found.update(parse(given[member]))
            except ValueError as error:
                raise SigningKeyError(f"dkim.{member}: {error}") from None
        elif member in _REQUIRED:
            raise SigningKeyError(f"dkim.{member}: missing")
    key = SigningKey(**found)
    if len(key.name) > _MAX_KEY_NAME_OCTETS:
        raise SigningKeyError("dkim.selector: too long for a name in DNS")
    return key


def _parse_domain(value: object) -> dict[str, object]:
    try:
        return {"domain": parse_domain(as_text(value))}
    except InvalidAddressError:
        raise ValueError("expected a domain name") from None


def _parse_selector(value: object) -> dict[str, object]:
    if not _SELECTOR.fullmatch(as_text(value)):
        raise ValueError("expected DNS labels")
    return {"selector": value}


def _parse_key(value: object) -> dict[str, object]:
    if not as_text(value):
        raise ValueError("expected a private key")
    return {"key": value}


def _parse_expire(value: object) -> dict[str, object]:
    return {"expire_at": as_timestamp(value)}


def _parse_headers(value: object) -> dict[str, object]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("expected an array of strings")
    names = (name.strip(" \t").lower().encode("utf-8", "replace") for name in value)
    return {"headers": tuple(dict.fromkeys(names))}


def _parse_canonicalization(value: object) -> dict[str, object]:
    match = _CANONICALIZATION.fullmatch(as_text(value).lower())
    if match is None:
        raise ValueError("expected simple or relaxed, for header/body")
    # RFC 6376 section 3.5: without a second word the body is simple.
    return {"header_canonicalization": match[1], "body_canonicalization": match[2] or "simple"}


def _parse_protocols(value: object) -> dict[str, object]:
    if not isinstance(value, list) or not all(isinstance(word, str) and word.lower() in _PROTOCOLS for word in value):
        raise ValueError("expected an array of dkim, arc")
    return {"protocols": frozenset(word.lower() for word in value)}


def _parse_algorithm(value: object) -> dict[str, object]:
    word = as_text(value).lower()
    if word not in _ALGORITHMS:
        raise ValueError("expected sha256")
    return {"warnings": ("sha1 is forbidden by RFC 8301, signing with sha256",)} if word == "sha1" else {}


def _parse_priority(value: object) -> dict[str, object]:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"priority": value}
    return {"priority": as_integer(value, 0)}


_MEMBERS: dict[str, Callable[[object], dict[str, object]]] = {
    "domain": _parse_domain,
    "selector": _parse_selector,
    "key": _parse_key,
    "expire": _parse_expire,
    "headers": _parse_headers,
    "canonicalization": _parse_canonicalization,
    "protocols": _parse_protocols,
    "report": lambda value: {"report": as_bool(value)},
    "priority": _parse_priority,
    "algorithm": _parse_algorithm,
    "oversign": lambda value: {"oversign": as_bool(value)},
    "identity": lambda value: {"identity": as_text(value)},
}
_REQUIRED = frozenset(("domain", "selector", "key"))


def select_keys(sources: Iterable[SigningKey], protocol: str, now: datetime) -> tuple[list[SigningKey], list[str]]:
    """Entries that sign, top of the message first, and notes for the log about those that expired.

    Of several entries with one domain and selector the first counts, because more than one signature with the same key
    says nothing more.

    Args:
        sources: Entries of the outer JSON, then of ``mime.dkim``, then of the configuration and database.
        protocol: ``dkim`` or ``arc``.
        now: Aware instant.
    """
    chosen: dict[str, SigningKey] = {}
    notes: list[str] = []
    for key in sources:
        if protocol not in key.protocols:
            continue
        if key.expire_at is not None and key.expire_at <= now:
            notes.append(f"{key.name}: expired, skipped")
        elif key.name not in chosen:
            chosen[key.name] = key
            notes += [f"{key.name}: {warning}" for warning in key.warnings]
    return sorted(chosen.values(), key=lambda key: key.priority), notes


def encode_identity(identity: str, domain: str) -> str:
    """Value of ``i=`` for an identity in ``domain`` or a subdomain of it.

    Raises:
        UnusableKeyError: It lies outside of the domain, or is no identity.
    """
    local, at, identity_domain = identity.rpartition("@")
    try:
        labels = parse_domain(identity_domain)
        octets = local.encode("utf-8")
    except (InvalidAddressError, UnicodeEncodeError):
        raise UnusableKeyError("identity is not of the form local@domain") from None
    if not at or not (labels == domain or labels.endswith("." + domain)):
        raise UnusableKeyError("identity lies outside of the domain")
    if len(octets) > _MAX_IDENTITY_OCTETS - len(labels):
        raise UnusableKeyError("identity is too long")
    quoted = "".join(chr(octet) if octet in _SAFE else f"={octet:02X}" for octet in octets)
    return f"{quoted}@{labels}"


class PrivateKey:
    """A private key that is known to work.

    Attributes:
        algorithm: ``rsa-sha256`` or ``ed25519-sha256``, the value of ``a=``.
        warnings: What to tell the log when it is used.
    """

    __slots__ = ("_ed25519", "_rsa", "algorithm", "warnings")

    def __init__(self, key: RSAPrivateKey | Ed25519PrivateKey) -> None:
        self._rsa = key if isinstance(key, RSAPrivateKey) else None
        self._ed25519 = key if isinstance(key, Ed25519PrivateKey) else None
        self.algorithm = "ed25519-sha256" if self._rsa is None else "rsa-sha256"
        self.warnings: tuple[str, ...] = ()
        if self._rsa is not None and not _USUAL_RSA_BITS[0] <= self._rsa.key_size <= _USUAL_RSA_BITS[1]:
            self.warnings = (f"RSA key of {self._rsa.key_size} bits",)

    @property
    def effort(self) -> float:
        """What signing costs, in RSA signatures of 2048 bits (0.25 to 1 ms); next to nothing for Ed25519."""
        return 0.0 if self._rsa is None else (self._rsa.key_size / 2048) ** 3

    def sign(self, digest: bytes) -> bytes:
        """Signature over a SHA-256 digest; the GIL is released meanwhile.

        Ed25519 signs the digest as if it were the message (RFC 8463 section 3).
        """
        if self._rsa is not None:
            return self._rsa.sign(digest, _RSA_PADDING, _RSA_DIGEST)
        assert self._ed25519 is not None
        return self._ed25519.sign(digest)

    def dns_record(self) -> str:
        """Text of the TXT record to publish (RFC 6376 section 3.6.1)."""
        if self._rsa is not None:
            octets = self._rsa.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return f"v=DKIM1; k=rsa; p={base64.b64encode(octets).decode('ascii')}"
        assert self._ed25519 is not None
        octets = self._ed25519.public_key().public_bytes_raw()
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(octets).decode('ascii')}"


class PrivateKeys:
    """Private keys that were parsed once, the least recently used of more than ``limit`` forgotten.

    Failures are remembered as well: a thousand messages with the same broken key cost one look at it.
    """

    def __init__(self, limit: int = MAX_CACHED_KEYS) -> None:
        self._limit = limit
        self._by_digest: OrderedDict[bytes, PrivateKey | str] = OrderedDict()

    def is_known(self, text: str) -> bool:
        """`load` costs next to nothing."""
        return _digest(text) in self._by_digest

    def load(self, text: str) -> PrivateKey:
        """The key; its first use costs a test signature, 1 ms for an RSA key of 2048 bits.

        Raises:
            UnusableKeyError: See `load_private_key`.
        """
        digest = _digest(text)
        # Taken out and put back, which threads may do at the same time.
        known = self._by_digest.pop(digest, None)
        if known is None:
            try:
                known = load_private_key(text)
            except UnusableKeyError as error:
                known = str(error)
        self._by_digest[digest] = known
        if len(self._by_digest) > self._limit:
            self._by_digest.popitem(last=False)
        if isinstance(known, str):
            raise UnusableKeyError(known)
        return known


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def load_private_key(text: str) -> PrivateKey:
    """Private key from PEM or the bare base64 of it, or from an Ed25519 seed in base64.

    Raises:
        UnusableKeyError: No private key, encrypted, not RSA or Ed25519, too short, too long, or not consistent.
    """
    der = _key_octets(text)
    if len(der) == _SEED_OCTETS:
        return PrivateKey(Ed25519PrivateKey.from_private_bytes(der))
    try:
        # The check of the library takes 30 to 50 ms for 2048 bits, 5 s for 8192, and blocks all threads meanwhile. What
        # it protects are secrets of whoever uses a forged key; here the sender brings a key and signs own mail with it.
        # _check_rsa tests the numbers, all but the primality of p and q, and a test signature shows that they work.
        key = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise UnusableKeyError("the private key is encrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKeyError("not a private key") from None
    if isinstance(key, RSAPrivateKey):
        _check_rsa(key)
    elif not isinstance(key, Ed25519PrivateKey):
        raise UnusableKeyError("neither an RSA nor an Ed25519 key")
    return PrivateKey(key)


def _key_octets(text: str) -> bytes:
    """What is left of the text without armour, line ends and base64."""
    if len(text) > _MAX_KEY_CHARACTERS:
        raise UnusableKeyError("the private key is too long")
    text = text.replace("\\r", "\n").replace("\\n", "\n")
    if "-----" in text:
        text = _unwrap(text)
    compact = "".join(text.split())
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise UnusableKeyError("the private key is not base64") from None


def _unwrap(text: str) -> str:
    """Base64 inside the first private key of a PEM text."""
    labels: list[str] = []
    for match in _ARMOUR.finditer(text):
        labels.append(match[1])
        if match[1] in _PEM_LABELS:
            if "Proc-Type:" in match[2]:
                raise UnusableKeyError("the private key is encrypted")
            return match[2]
    if "ENCRYPTED PRIVATE KEY" in labels:
        raise UnusableKeyError("the private key is encrypted")
    raise UnusableKeyError("neither an RSA nor an Ed25519 private key in PEM")


def _check_rsa(key: RSAPrivateKey) -> None:
    if key.key_size < MIN_RSA_BITS:
        raise UnusableKeyError(f"an RSA key of less than {MIN_RSA_BITS} bits (RFC 8301)")
    if key.key_size > MAX_RSA_BITS:
        raise UnusableKeyError(f"an RSA key of more than {MAX_RSA_BITS} bits")
    private = key.private_numbers()
    public = private.public_numbers
    p, q, d = private.p, private.q, private.d
    is_consistent = (
        1 < p < public.n
        and 1 < q < public.n
        and p * q == public.n
        and 1 < d < public.n
        and public.e * d % (p - 1) == 1
        and public.e * d % (q - 1) == 1
        and private.dmp1 == d % (p - 1)
        and private.dmq1 == d % (q - 1)
        and 0 < private.iqmp < p
        and private.iqmp * q % p == 1
    )
    if not is_consistent:
        raise UnusableKeyError("an RSA key whose numbers do not fit together")
    digest = hashlib.sha256().digest()
    try:
        key.public_key().verify(key.sign(digest, _RSA_PADDING, _RSA_DIGEST), digest, _RSA_PADDING, _RSA_DIGEST)
    except (InvalidSignature, ValueError):
        raise UnusableKeyError("an RSA key that does not work") from None
