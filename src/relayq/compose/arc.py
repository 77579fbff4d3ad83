"""ARC sets: what was known about a message when it passed through here, sealed (RFC 8617; spec html-css-dkim.md 5).

A set is advice to those further on. Whatever is in its way, it is left out and the message goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from relayq.compose.arc_chain import (
    MAX_INSTANCES,
    SIGNATURE,
    ArcSet,
    BrokenChainError,
    ChainValue,
    read_chain,
    seal_digest,
)
from relayq.compose.canonical import body_hash
from relayq.compose.dkim import (
    HUGE_HEADER,
    STANDARD_HEADERS,
    MessageHeader,
    SigningFailedError,
    extra_names,
    fold_signature,
    header_digest,
    write_field,
)
from relayq.compose.headers import has_huge_header
from relayq.compose.signing_keys import PrivateKey, PrivateKeys, SigningKey, UnusableKeyError, select_keys

_ALGORITHM = "rsa-sha256"  # the only one RFC 8617 has receivers for
_SIGNED = (*STANDARD_HEADERS, b"dkim-signature")


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a message was like when it came: how long its chain was, and whether it held.

    Attributes:
        instances: Sets it had.
        value: What the next seal says about them.
    """

    instances: int
    value: ChainValue


NEW = Arrival(0, ChainValue.NONE)
"""A message that begins here."""


@dataclass(frozen=True, slots=True)
class PreparedSeal:
    """A set that lacks only the arithmetic.

    Attributes:
        results: ARC-Authentication-Results, complete.
        signature: ARC-Message-Signature up to ``b=``, and its digest.
        seal: ARC-Seal up to ``b=``.
        below: Sets the seal covers besides its own.
        key: Signs both.
    """

    results: bytes
    signature: tuple[bytes, bytes]
    seal: bytes
    below: tuple[ArcSet, ...]
    key: PrivateKey

    def sign(self) -> bytes:
        """The three fields, to be put in front of the message; two RSA signatures, so this belongs into a thread.

        Raises:
            SigningFailedError: The arithmetic failed.
        """
        field, digest = self.signature
        try:
            signature = field + fold_signature(self.key.sign(digest)) + b"\r\n"
            sealed = seal_digest(self.below, (self.results, signature), self.seal)
            seal = self.seal + fold_signature(self.key.sign(sealed)) + b"\r\n"
        except ValueError as error:
            raise SigningFailedError("sealing failed") from error
        return seal + signature + self.results


def prepare_seal(
    message: bytes,
    keys: Iterable[SigningKey],
    arrival: Arrival,
    host_name: str,
    now: datetime,
    private_keys: PrivateKeys,
) -> tuple[PreparedSeal | None, tuple[str, ...]]:
    """The next set of a message, ``None`` if it gets none, and notes for the log.

    Args:
        message: Final octets before DKIM signatures and dot-stuffing, line ends CRLF.
        keys: Where keys come from, in the order of `select_keys`; those for ARC are looked at.
        arrival: What the message was like when it came.
        host_name: Who says what it was like.
        now: Time of sealing.
        private_keys: Where key material is looked up.
    """
    chosen, notes = select_keys(keys, "arc", now)
    key = _first_usable(chosen, private_keys, notes)
    if key is None:
        return None, tuple(notes)
    if has_huge_header(message):
        return None, (*notes, f"no ARC set: {HUGE_HEADER}")
    header = MessageHeader(message)
    try:
        sets = read_chain(header)
    except BrokenChainError as error:
        return None, (*notes, f"no ARC set: {error}")
    instance = len(sets) + 1
    reason = _hindrance(header, instance, arrival)
    if reason:
        return None, (*notes, f"no ARC set: {reason}")
    entry, private = key
    results = f"ARC-Authentication-Results: i={instance}; {host_name}; none\r\n".encode("ascii")
    names = [name for name in _SIGNED for _ in range(header.count(name))]
    names += extra_names(header, entry, notes)
    form, body_form = entry.header_canonicalization, entry.body_canonicalization
    moment = int(now.timestamp())
    tags = [
        f"i={instance}", "a=rsa-sha256", f"c={form}/{body_form}", f"d={entry.domain}", f"s={entry.selector}",
        f"t={moment}",
    ]  # fmt: skip
    field = write_field("ARC-Message-Signature", tags, names, body_hash(message, header.body_start, body_form))
    digest = header_digest(header, names, form, SIGNATURE, field)
    value = arrival.value
    seal = "".join(
        (
            f"ARC-Seal: i={instance}; a=rsa-sha256; t={moment}; cv={value.value};\r\n",
            f" d={entry.domain}; s={entry.selector};\r\n b=",
        )
    )
    below = () if value is ChainValue.FAIL else sets
    return PreparedSeal(results, (field, digest), seal.encode("ascii"), below, private), tuple(notes)


def _first_usable(
    keys: Iterable[SigningKey], private_keys: PrivateKeys, notes: list[str]
) -> tuple[SigningKey, PrivateKey] | None:
    for key in keys:
        try:
            private = private_keys.load(key.key)
        except UnusableKeyError as error:
            notes.append(f"{key.name}: {error}, skipped")
            continue
        if private.algorithm == _ALGORITHM:
            return key, private
        notes.append(f"{key.name}: ARC is sealed with RSA only, skipped")
    return None


def _hindrance(header: MessageHeader, instance: int, arrival: Arrival) -> str:
    """Why there can be no set; empty if there can."""
    if instance > MAX_INSTANCES:
        return f"the chain has {MAX_INSTANCES} sets"
    if instance != arrival.instances + 1:
        return "the chain was edited"
    if not header.count(b"from"):
        return "no From field"
    return ""
