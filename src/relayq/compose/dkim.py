"""DKIM signatures (RFC 6376, RFC 8463; spec html-css-dkim.md 4).

A signature covers the final octets: `prepare_signatures` reads the message, hashes it and writes the header fields up
to ``b=``, then `PreparedSignatures.sign` does the arithmetic, which for RSA is the largest single cost of a mail and
may run in a thread. Nothing here looks at the clock or at DNS.

What is signed: the verifier takes the instances of a header from the bottom up, one for each time its name stands in
``h=``. A name that stands there once more than the message has instances ("oversigned") covers the absence of another
one, so that a second ``Subject`` cannot be put in front of a signed message.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from relayq.compose.canonical import body_hash, relaxed_field, simple_field
from relayq.compose.errors import ComposeError
from relayq.compose.headers import field_name, find_header, split_fields
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

_COLUMNS = 76
_SIGNATURE_COLUMNS = 72
_NOTED_OCTETS = 60


class NoAuthorError(ComposeError):
    """A message without a ``From`` field cannot be signed."""


class SigningFailedError(ComposeError):
    """A key that worked when it was loaded does not sign."""


class MessageHeader:
    """Top-level header of a message as a signature sees it; each canonical form is made once.

    Attributes:
        body_start: First octet of the body.
    """

    __slots__ = ("_canonical", "_fields", "body_start")

    def __init__(self, message: bytes) -> None:
        span = find_header(message)
        self.body_start = span.body_start
        self._fields: dict[bytes, list[bytes]] = {}
        self._canonical: dict[tuple[bytes, str], list[bytes]] = {}
        for field in split_fields(message[span.start : span.end]):
            self._fields.setdefault(field_name(field), []).append(field)

    def count(self, name: bytes) -> int:
        """Instances of a lower-case name."""
        fields = self._fields.get(name)
        return 0 if fields is None else len(fields)

    def fields(self, name: bytes) -> Sequence[bytes]:
        """Fields of a lower-case name as they stand, top of the message first."""
        return self._fields.get(name, ())

    def canonical(self, names: Iterable[bytes], form: str) -> bytes:
        """Canonical fields for the names of an ``h=``, instances from the bottom up; what is absent adds nothing."""
        taken: dict[bytes, int] = {}
        found: list[bytes] = []
        for name in names:
            fields = self._canonical_fields(name, form)
            at = taken.get(name, len(fields))
            if at:
                found.append(fields[at - 1])
                taken[name] = at - 1
        return b"".join(found)

    def _canonical_fields(self, name: bytes, form: str) -> list[bytes]:
        known = self._canonical.get((name, form))
        if known is None:
            fields = self._fields.get(name, ())
            known = [relaxed_field(name, field) if form == "relaxed" else simple_field(field) for field in fields]
            self._canonical[name, form] = known
        return known


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
    encoded = base64.b64encode(signature)
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
    """
    chosen, notes = select_keys(keys, "dkim", now)
    if not chosen:
        return PreparedSignatures((), tuple(notes))
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
    names = list(_signed_names(header, key, notes))
    tags = [
        "v=1",
        f"a={private.algorithm}",
        f"c={key.header_canonicalization}/{key.body_canonicalization}",
        f"d={key.domain}",
        f"s={key.selector}",
        f"t={int(now.timestamp())}",
    ]
    if key.expire_at is not None:
        tags.append(f"x={int(key.expire_at.timestamp())}")
    if identity is not None:
        tags.append(f"i={identity}")
    if key.report:
        tags.append("r=y")
    field = write_field("DKIM-Signature", tags, names, body)
    return _Job(field, header_digest(header, names, key.header_canonicalization, b"dkim-signature", field), private)


def _signed_names(header: MessageHeader, key: SigningKey, notes: list[str]) -> Iterator[bytes]:
    """Names for ``h=``, each as often as it is signed."""
    oversigned, always = (_OVERSIGNED, _ALWAYS_OVERSIGNED) if key.oversign else (frozenset(), frozenset())
    for name in STANDARD_HEADERS:
        present = header.count(name)
        for _ in range(present + 1 if name in oversigned and (present or name in always) else present):
            yield name
    yield from extra_names(header, key, notes)


def extra_names(header: MessageHeader, key: SigningKey, notes: list[str]) -> Iterator[bytes]:
    """Names for ``h=`` that a key asks for beyond the standard ones, each as often as it is there."""
    for name in key.headers:
        if name in _STANDARD:
            continue
        if name in _NEVER or name.startswith(_NEVER_PREFIXES) or not _SIGNABLE_NAME.fullmatch(name):
            notes.append(f"{key.name}: {name[:_NOTED_OCTETS]!r} is never signed")
            continue
        for _ in range(header.count(name)):
            yield name


def write_field(name: str, tags: Iterable[str], names: Sequence[bytes], body: bytes) -> bytes:
    """Signature field up to and including ``b=``, folded to 76 columns where its tags can be folded.

    Args:
        name: Field name.
        tags: Tags in front of ``h=``, without semicolons.
        names: Names for ``h=``.
        body: Digest of the body.
    """
    head = _fill(f"{name}:", [f" {tag};" for tag in tags])
    signed = [f"{signed_name.decode('ascii')}:" for signed_name in names]
    signed[-1] = signed[-1][:-1] + ";"
    signed[0] = "h=" + signed[0]
    encoded = base64.b64encode(body).decode("ascii")
    return f"{head}\r\n {_fill('', signed, indent=1)}\r\n bh={encoded};\r\n b=".encode("ascii")


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
