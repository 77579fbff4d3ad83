"""DKIM signatures (RFC 6376, RFC 8463; spec html-css-dkim.md 4).

A signature covers the final octets: `prepare_signatures` reads the message, hashes it and writes the header fields up
to ``b=``, then `PreparedSignatures.sign` does the arithmetic, which for RSA is the largest single cost of a mail and
may run in a thread. Nothing here looks at the clock or at DNS.

What is signed: the verifier takes the instances of a header from the bottom up, one for each time its name stands in
``h=``. A name that stands there once more than the message has instances ("oversigned") covers the absence of another
one, so that a second ``Subject`` cannot be put in front of a signed message.
"""

from __future__ import annotations

import binascii
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from relayq.compose.canonical import body_hash, collapse_blanks, relaxed_field, simple_field
from relayq.compose.errors import ComposeError
from relayq.compose.headers import MAX_SIGNED_OCTETS, field_name, find_header, has_huge_header, split_fields
from relayq.compose.signing_keys import (
    PrivateKey,
    PrivateKeys,
    SigningKey,
    UnusableKeyError,
    encode_identity,
    select_keys,
)

_ALWAYS_OVERSIGNED = frozenset(b"from reply-to subject to cc".split())
_OVERSIGNED = _ALWAYS_OVERSIGNED | frozenset(
    b"date message-id mime-version content-type content-transfer-encoding list-unsubscribe list-unsubscribe-post "
    b"feedback-id".split()
)
STANDARD_HEADERS = tuple(
    b"from reply-to subject date to cc message-id sender in-reply-to references mime-version content-type "
    b"content-transfer-encoding list-unsubscribe list-unsubscribe-post list-id list-help list-subscribe list-post "
    b"list-owner list-archive feedback-id resent-date resent-from resent-sender resent-to resent-cc "
    b"resent-message-id".split()
)
"""Headers that are signed without being asked for, in the order of ``h=`` (spec html-css-dkim.md 4.4)."""

_STANDARD = frozenset(STANDARD_HEADERS)
_NEVER = frozenset(
    b"return-path received bcc dkim-signature authentication-results delivered-to comments keywords".split()
)
_NEVER_PREFIXES = (b"arc-", b"x-mq-")
# A field name may hold a semicolon (RFC 5322 section 3.6.8), the list in h= may not (RFC 6376 section 3.2).
_SIGNABLE_NAME = re.compile(rb"[!-9<-~]+")

HUGE_HEADER = f"header of more than {MAX_SIGNED_OCTETS} octets"
"""What is said about one."""

_COLUMNS = 76
_SIGNATURE_COLUMNS = 72
_NOTED_OCTETS = 60
_USUAL_HEADER_OCTETS = 8192
_MAX_KNOWN_FIELDS = 256
_MAX_KNOWN_HEADS = 256


class NoAuthorError(ComposeError):
    """A message without a ``From`` field cannot be signed."""


class HugeHeaderError(ComposeError):
    """A header that would take too long to sign."""


class SigningFailedError(ComposeError):
    """A key that worked when it was loaded does not sign."""


class MessageHeader:
    """Top-level header of a message as a signature sees it; each canonical form is made once.

    Attributes:
        body_start: First octet of the body.
        names: Names of the fields in lower case, top of the message first.
    """

    __slots__ = ("_block", "_raw", "_relaxed", "body_start", "names")

    def __init__(self, message: bytes) -> None:
        span = find_header(message)
        self.body_start = span.body_start
        self._block = message[span.start : span.end]
        self._raw: list[bytes] | None = None
        self.names, self._relaxed = _relax(self._block)

    @property
    def is_usual(self) -> bool:
        """Short enough for what was worked out for its names to be remembered."""
        return len(self._block) <= _USUAL_HEADER_OCTETS

    def count(self, name: bytes) -> int:
        """Instances of a lower-case name."""
        return self.names.count(name)

    def fields(self, name: bytes) -> Sequence[bytes]:
        """Fields of a lower-case name as they stand, top of the message first."""
        return [field for own, field in zip(self.names, self._fields(), strict=True) if own == name]

    def canonical(self, names: Iterable[bytes], form: str) -> bytes:
        """Canonical fields for the names of an ``h=``, instances from the bottom up; what is absent adds nothing."""
        return self.canonical_at(places(self.names, names), form)

    def canonical_at(self, fields: Sequence[int], form: str) -> bytes:
        """The same for the places of fields among `names`."""
        if form == "relaxed":
            relaxed = self._relaxed
            return b"".join([relaxed[at] for at in fields])
        raw = self._fields()
        return b"".join([simple_field(raw[at]) for at in fields])

    def _fields(self) -> list[bytes]:
        if self._raw is None:
            self._raw = split_fields(self._block)
        return self._raw


def _relax(block: bytes) -> tuple[tuple[bytes, ...], list[bytes]]:
    """Names and relaxed forms of the fields of a header, all at once: half the work of one after the other."""
    if block.count(b"\n") != block.count(b"\r\n"):
        fields = split_fields(block)
        names = [field_name(field) for field in fields]
        return tuple(names), [relaxed_field(name, field) for name, field in zip(names, fields, strict=True)]
    lines = collapse_blanks(block.replace(b"\r\n ", b" ").replace(b"\r\n\t", b"\t")).split(b"\r\n")
    if not lines[-1]:
        lines.pop()
    names = []
    relaxed = []
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.rstrip(b" ").lower()
        names.append(name)
        relaxed.append(name + b":" + value.strip(b" ") + b"\r\n")
    return tuple(names), relaxed


def places(given: Sequence[bytes], names: Iterable[bytes]) -> tuple[int, ...]:
    """Which of the ``given`` names the names of an ``h=`` stand for: each its instances from the bottom up."""
    left: dict[bytes, list[int]] = {}
    for at, name in enumerate(given):
        left.setdefault(name, []).append(at)
    return tuple([left[name].pop() for name in names if left.get(name)])


@dataclass(frozen=True, slots=True)
class _Job:
    """One signature: the field up to and including ``b=``, the digest to sign, the key."""

    field: bytes
    digest: bytes
    key: PrivateKey


@dataclass(frozen=True, slots=True)
class PreparedSignatures:
    """Signatures that lack only the arithmetic.

    Attributes:
        jobs: What is to be signed, top of the message first; may be empty.
        notes: For the application log: what was left out, and why.
    """

    jobs: tuple[_Job, ...]
    notes: tuple[str, ...]

    @property
    def effort(self) -> float:
        """What `sign` costs, in RSA signatures of 2048 bits; the lock of the interpreter is released meanwhile."""
        return sum(job.key.effort for job in self.jobs)

    def sign(self) -> bytes:
        """Header fields to be put in front of the message; empty without keys.

        Raises:
            SigningFailedError: The arithmetic failed.
        """
        return b"".join([_finish(job) for job in self.jobs])


def _finish(job: _Job) -> bytes:
    try:
        signature = job.key.sign(job.digest)
    except ValueError as error:
        raise SigningFailedError("signing failed") from error
    return job.field + fold_signature(signature) + b"\r\n"


def fold_signature(signature: bytes) -> bytes:
    """A signature in base64 as the value of ``b=``, in lines of 72 characters."""
    encoded = binascii.b2a_base64(signature, newline=False)
    lines = [encoded[at : at + _SIGNATURE_COLUMNS] for at in range(0, len(encoded), _SIGNATURE_COLUMNS)]
    return b"\r\n  ".join(lines)


def sign_message(
    message: bytes, keys: Iterable[SigningKey], now: datetime, private_keys: PrivateKeys, *, force: bool = False
) -> bytes:
    """The message with its signatures on top; see `prepare_signatures`."""
    return prepare_signatures(message, keys, now, private_keys, force=force).sign() + message


def prepare_signatures(
    message: bytes, keys: Iterable[SigningKey], now: datetime, private_keys: PrivateKeys, *, force: bool = False
) -> PreparedSignatures:
    """Everything about the signatures of a message but the arithmetic.

    Args:
        message: Final octets before dot-stuffing, line ends CRLF.
        keys: Entries of the outer JSON, then of ``mime.dkim``, then those of the configuration that apply.
        now: Time of signing; an entry that expires then or earlier is skipped.
        private_keys: Where key material is looked up.
        force: Leave out what cannot be signed instead of refusing the message.

    Raises:
        UnusableKeyError: An entry of the message cannot be used.
        NoAuthorError: No ``From`` field, and the message asked to be signed.
        HugeHeaderError: The same of a header beyond `headers.MAX_SIGNED_OCTETS`.
    """
    chosen, notes = select_keys(keys, "dkim", now)
    if not chosen:
        return PreparedSignatures((), tuple(notes))
    if has_huge_header(message):
        if any(key.is_required for key in chosen) and not force:
            raise HugeHeaderError(f"{HUGE_HEADER} to sign")
        return PreparedSignatures((), (*notes, f"{HUGE_HEADER}: not signed"))
    header = MessageHeader(message)
    if not header.count(b"from"):
        if any(key.is_required for key in chosen) and not force:
            raise NoAuthorError("no From field to sign")
        return PreparedSignatures((), (*notes, "no From field: not signed"))
    hashes: dict[str, bytes] = {}
    jobs: list[_Job] = []
    for key in chosen:
        try:
            private = private_keys.load(key.key)
            identity = None if key.identity is None else encode_identity(key.identity, key.domain)
        except UnusableKeyError as error:
            if key.is_required and not force:
                raise UnusableKeyError(f"{key.name}: {error}") from None
            notes.append(f"{key.name}: {error}, skipped")
            continue
        notes += [f"{key.name}: {warning}" for warning in private.warnings]
        form = key.body_canonicalization
        if form not in hashes:
            hashes[form] = body_hash(message, header.body_start, form)
        jobs.append(_prepare(header, hashes[form], key, private, identity, now, notes))
    return PreparedSignatures(tuple(jobs), tuple(notes))


def _prepare(
    header: MessageHeader,
    body: bytes,
    key: SigningKey,
    private: PrivateKey,
    identity: str | None,
    now: datetime,
    notes: list[str],
) -> _Job:
    choose = _known_fields if header.is_usual else _choose_fields
    chosen = choose(header.names, key.name, key.headers, key.oversign)
    notes += chosen.notes
    form = key.header_canonicalization
    head = _head(
        private.algorithm,
        f"{form}/{key.body_canonicalization}",
        key.domain,
        key.selector,
        int(now.timestamp()),
        None if key.expire_at is None else int(key.expire_at.timestamp()),
        identity,
        key.report,
    )
    field = _join_field(head, chosen.written, body)
    own = relaxed_field(b"dkim-signature", field)[:-2] if form == "relaxed" else field
    digest = hashlib.sha256(header.canonical_at(chosen.places, form) + own).digest()
    return _Job(field, digest, private)


@functools.lru_cache(_MAX_KNOWN_HEADS)
def _head(
    algorithm: str,
    canonicalization: str,
    domain: str,
    selector: str,
    signed_at: int,
    expires_at: int | None,
    identity: str | None,
    report: bool,
) -> str:
    """Tags in front of ``h=``, which all messages signed with a key within a second have in common."""
    tags = ["v=1", f"a={algorithm}", f"c={canonicalization}", f"d={domain}", f"s={selector}", f"t={signed_at}"]
    if expires_at is not None:
        tags.append(f"x={expires_at}")
    if identity is not None:
        tags.append(f"i={identity}")
    if report:
        tags.append("r=y")
    return _write_head("DKIM-Signature", tags)


class _Fields(NamedTuple):
    """The fields a key signs, for a sequence of names.

    Attributes:
        written: ``h=``, folded.
        places: Where they stand, in the order in which they are signed.
        notes: About names that are never signed.
    """

    written: str
    places: tuple[int, ...]
    notes: tuple[str, ...]


def _choose_fields(given: tuple[bytes, ...], key_name: str, headers: tuple[bytes, ...], oversign: bool) -> _Fields:
    """Choose what is signed of a header with these names; messages of one campaign have the same."""
    oversigned, always = (_OVERSIGNED, _ALWAYS_OVERSIGNED) if oversign else (frozenset(), frozenset())
    counts = Counter(given)
    names: list[bytes] = []
    for name in STANDARD_HEADERS:
        present = counts[name]
        names += [name] * (present + (name in oversigned and (present > 0 or name in always)))
    notes: list[str] = []
    names += _extra_names(counts, headers, key_name, notes)
    return _Fields(_write_names(names), places(given, names), tuple(notes))


_known_fields = functools.lru_cache(_MAX_KNOWN_FIELDS)(_choose_fields)


def extra_names(header: MessageHeader, key: SigningKey, notes: list[str]) -> Iterator[bytes]:
    """Names for ``h=`` that a key asks for beyond the standard ones, each as often as it is there."""
    return _extra_names(Counter(header.names), key.headers, key.name, notes)


def _extra_names(
    counts: Mapping[bytes, int], headers: Iterable[bytes], key_name: str, notes: list[str]
) -> Iterator[bytes]:
    for name in headers:
        if name in _STANDARD:
            continue
        if name in _NEVER or name.startswith(_NEVER_PREFIXES) or not _SIGNABLE_NAME.fullmatch(name):
            notes.append(f"{key_name}: {name[:_NOTED_OCTETS].decode('utf-8', 'replace')!a} is never signed")
            continue
        for _ in range(counts.get(name, 0)):
            yield name


def write_field(name: str, tags: Iterable[str], names: Sequence[bytes], body: bytes) -> bytes:
    """Signature field up to and including ``b=``, folded to 76 columns where its tags can be folded.

    Args:
        name: Field name.
        tags: Tags in front of ``h=``, without semicolons.
        names: Names for ``h=``.
        body: Digest of the body.
    """
    return _join_field(_write_head(name, tags), _write_names(names), body)


def _write_head(name: str, tags: Iterable[str]) -> str:
    return _fill(f"{name}:", [f" {tag};" for tag in tags])


def _write_names(names: Sequence[bytes]) -> str:
    signed = [f"{name.decode('ascii')}:" for name in names]
    signed[-1] = signed[-1][:-1] + ";"
    signed[0] = "h=" + signed[0]
    return _fill("", signed, indent=1)


def _join_field(head: str, names: str, body: bytes) -> bytes:
    return f"{head}\r\n {names}\r\n bh={binascii.b2a_base64(body, newline=False).decode('ascii')};\r\n b=".encode(
        "ascii"
    )


def _fill(start: str, pieces: Iterable[str], indent: int = 0) -> str:
    """Pieces in lines of at most 76 columns, continued with one blank; ``indent`` columns of the first are taken."""
    lines = [start]
    column = len(start) + indent
    for piece in pieces:
        if column + len(piece) > _COLUMNS and column > indent:
            lines.append(" " + piece.lstrip(" "))
            column = len(lines[-1])
        else:
            lines[-1] += piece
            column += len(piece)
    return "\r\n".join(lines)


def header_digest(header: MessageHeader, names: Iterable[bytes], form: str, own_name: bytes, field: bytes) -> bytes:
    """SHA-256 over the signed fields and the signature field itself, which has an empty ``b=`` and no CRLF."""
    own = relaxed_field(own_name, field)[:-2] if form == "relaxed" else field
    return hashlib.sha256(header.canonical(names, form) + own).digest()
