"""The chain of ARC sets a message came with, and whether it holds (RFC 8617 sections 4 and 5.2).

A set has three fields with the same instance ``i=``: what its sealer found (ARC-Authentication-Results), a signature
over the message (ARC-Message-Signature) and one over all sets so far (ARC-Seal). A chain passes if the newest message
signature and every seal verify; older message signatures are bound to fail once somebody has changed the message.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from relayq.compose.canonical import relaxed_body, relaxed_field, simple_body
from relayq.compose.dkim import MessageHeader, header_digest
from relayq.compose.headers import field_value
from relayq.compose.public_keys import decode_tag, parse_public_key, parse_tags
from relayq.model import InvalidAddressError, parse_domain

MAX_INSTANCES = 50
"""RFC 8617 section 4.2.1."""

RESULTS, SIGNATURE, SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
NAMES = (RESULTS, SIGNATURE, SEAL)
"""Of the fields of a set, in the order in which a seal covers them."""

_INSTANCE = re.compile(rb"\s*i\s*=\s*([0-9]{1,3})\s*;")
_FORMS = frozenset(("simple", "relaxed"))
# The value of b= in a field as it stands; bh= has a letter more in front of its equals sign.
_OWN_SIGNATURE = re.compile(rb"((?:[;:])[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_MAX_NAMES = 1000
_SELECTOR = re.compile(r"[A-Za-z0-9_.-]{1,253}")


class ChainValue(enum.Enum):
    """What ``cv=`` of the next seal says."""

    NONE = "none"
    """There is no chain yet."""
    PASS = "pass"  # noqa: S105 - the word of RFC 8617
    FAIL = "fail"


class BrokenChainError(Exception):
    """A chain that nobody can go on with; the text says why, for the log."""


class ArcSet(NamedTuple):
    """One set: its fields as they stand, and the tags of two of them.

    Attributes:
        fields: In the order of `NAMES`.
        signature: Tags of the message signature.
        seal: Tags of the seal.
    """

    fields: tuple[bytes, bytes, bytes]
    signature: Mapping[str, str]
    seal: Mapping[str, str]


def read_chain(header: MessageHeader) -> tuple[ArcSet, ...]:
    """Sets of a message, oldest first; empty if it has none.

    Raises:
        BrokenChainError: A set lacks a field or has one twice, or sets are missing, or there are too many.
    """
    found: dict[bytes, dict[int, bytes]] = {}
    for name in NAMES:
        by_instance = found.setdefault(name, {})
        for field in header.fields(name):
            match = _INSTANCE.match(field_value(field)) if name == RESULTS else None
            tags = None if name == RESULTS else parse_tags(field_value(field))
            text = match[1].decode() if match is not None else (tags or {}).get("i", "")
            if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_INSTANCES) or int(text) in by_instance:
                raise BrokenChainError("an ARC field without a usable instance, or one that is there twice")
            by_instance[int(text)] = field
    instances = range(1, max(map(len, found.values())) + 1)
    if any(list(instances) != sorted(by_instance) for by_instance in found.values()):
        raise BrokenChainError("an incomplete ARC set")
    return tuple(_read_set(*(found[name][instance] for name in NAMES)) for instance in instances)


def _read_set(results: bytes, signature: bytes, seal: bytes) -> ArcSet:
    signature_tags, seal_tags = parse_tags(field_value(signature)), parse_tags(field_value(seal))
    assert signature_tags is not None
    assert seal_tags is not None
    return ArcSet((results, signature, seal), signature_tags, seal_tags)


def chain_keys(sets: Sequence[ArcSet]) -> tuple[str, ...]:
    """Names in DNS of the public keys that `judge_chain` needs, each once."""
    if not sets:
        return ()
    names = [_key_name(tags) for tags in (sets[-1].signature, *(one.seal for one in sets))]
    return tuple(dict.fromkeys(name for name in names if name))


def judge_chain(
    message: bytes, header: MessageHeader, sets: Sequence[ArcSet], records: Mapping[str, str], now: datetime
) -> ChainValue:
    """Whether a chain holds for a message as it arrived.

    Args:
        message: Octets, line ends CRLF.
        header: Its header.
        sets: Its chain, oldest first.
        records: Public keys by the names of `chain_keys`; what is missing does not exist.
        now: Tells which signatures have expired.
    """
    if not sets:
        return ChainValue.NONE
    for instance, one in enumerate(sets, 1):
        if one.seal.get("cv", "").lower() != ("none" if instance == 1 else "pass") or "h" in one.seal:
            return ChainValue.FAIL
    if not _verify_message(message, header, sets[-1], records, now):
        return ChainValue.FAIL
    for instance in range(len(sets), 0, -1):
        one = sets[instance - 1]
        digest = seal_digest(sets[: instance - 1], one.fields[:2], without_signature(one.fields[2]))
        if not _verifies(one.seal, digest, records):
            return ChainValue.FAIL
    return ChainValue.PASS


def seal_digest(sets: Sequence[ArcSet], fields: Sequence[bytes], seal: bytes) -> bytes:
    """SHA-256 over what a seal covers.

    Args:
        sets: Those below it, oldest first.
        fields: The other two fields of its own set.
        seal: Itself, with an empty ``b=``.
    """
    hashed = hashlib.sha256()
    for one in sets:
        for name, field in zip(NAMES, one.fields, strict=True):
            hashed.update(relaxed_field(name, field))
    for name, field in zip(NAMES, fields, strict=False):
        hashed.update(relaxed_field(name, field))
    hashed.update(relaxed_field(SEAL, seal)[:-2])
    return hashed.digest()


def without_signature(field: bytes) -> bytes:
    """A signature field with an empty ``b=``, as it was when it was hashed."""
    return _OWN_SIGNATURE.sub(rb"\1", field, count=1)


def _verify_message(
    message: bytes, header: MessageHeader, one: ArcSet, records: Mapping[str, str], now: datetime
) -> bool:
    tags = one.signature
    header_form, _, body_form = tags.get("c", "simple/simple").lower().partition("/")
    body_form = body_form or "simple"
    names = [name.strip(" \t\r\n").lower().encode() for name in tags.get("h", "").split(":")]
    if header_form not in _FORMS or body_form not in _FORMS or b"from" not in names or len(names) > _MAX_NAMES:
        return False
    expires = tags.get("x")
    if expires is not None and (not _is_number(expires) or int(expires) < now.timestamp()):
        return False
    if decode_tag(tags.get("bh", "")) != _hash_body(message[header.body_start :], body_form, tags.get("l")):
        return False
    field = without_signature(one.fields[1])
    if header_form == "simple":
        field = field.removesuffix(b"\r\n")
    return _verifies(tags, header_digest(header, names, header_form, SIGNATURE, field), records)


def _hash_body(body: bytes, form: str, length: str | None) -> bytes | None:
    """SHA-256 of a body in its canonical form, or of so many octets of it; ``None`` if it has not so many."""
    octets = simple_body(body) if form == "simple" else relaxed_body(body)
    if length is not None:
        if not _is_number(length) or int(length) > len(octets):
            return None
        octets = octets[: int(length)]
    return hashlib.sha256(octets).digest()


def _verifies(tags: Mapping[str, str], digest: bytes, records: Mapping[str, str]) -> bool:
    key = parse_public_key(records.get(_key_name(tags), ""))
    signature = decode_tag(tags.get("b", ""))
    return key is not None and bool(signature) and key.verifies(tags.get("a", "").lower(), signature or b"", digest)


def _key_name(tags: Mapping[str, str]) -> str:
    """Name in DNS; empty if it cannot be one."""
    try:
        domain = parse_domain(tags.get("d", ""))
    except InvalidAddressError:
        return ""
    selector = tags.get("s", "")
    return f"{selector}._domainkey.{domain}" if _SELECTOR.fullmatch(selector) else ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12
