"""Header fields of a generated message, in the order of spec responsive.md 5.1."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from relayq.compose.errors import HeaderError
from relayq.compose.header_values import encode_field, encode_rendered_field, header_value_text, is_field_name
from relayq.compose.responsive.addresses import Mailbox, encode_mailboxes, read_mailboxes, split_addresses
from relayq.compose.responsive.errors import DocumentError
from relayq.compose.responsive.links import clean_url
from relayq.compose.responsive.templates import Templates, clean_line
from relayq.compose.responsive.values import Node, compact_json
from relayq.model import EmailAddress, InvalidAddressError, parse_address

ID_DIGITS = 32
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FOLD = re.compile(r"\r\n(?=[ \t])")
_BREAKING = re.compile(r"[\r\n\0]")
_IGNORED = frozenset(("mime-version", "content-type", "content-transfer-encoding", "bcc", "return-path", "resent-bcc"))
_ORDER = ("from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id")
_IN_MAILTO = "!$'*+-./=@[]^_{|}~"  # RFC 6068 section 2
_UNDISCLOSED = b"To: undisclosed-recipients:;\r\n"
_MIME_VERSION = b"MIME-Version: 1.0\r\n"
_UNSUBSCRIBE_POST = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a message the same one on all attempts.

    Attributes:
        envelope: Sender; ``None`` for the null one.
        recipient: Recipient as in the JSON.
        mime: Raw JSON of the ``mime`` object.
        data: Raw JSON of the outer ``data``; ``None`` where there is none.
        seen_at: First pick-up.
        host_name: Right side of the ``Message-ID`` where ``From`` has no domain.
        digest: Left side of it, where that is known because some of ``mime`` is kept aside.
    """

    envelope: EmailAddress | None
    recipient: str
    mime: bytes
    data: bytes | None
    seen_at: datetime
    host_name: str
    digest: str | None = None


class HeaderFields(msgspec.Struct, frozen=True):
    """Fields and what else follows from them.

    Attributes:
        fields: All but ``Content-*``, each ending with CRLF.
        domain: Domain of the first author.
    """

    fields: bytes
    domain: str


class _GivenFields(msgspec.Struct):
    """What ``headers`` asks for.

    Attributes:
        instead: Lower-case name → fields that stand where the generated one would.
        further: All others, in JSON order.
        names: Lower-case names of all of them.
        author: Value given for ``From``.
    """

    instead: dict[str, bytes]
    further: list[bytes]
    names: set[str]
    author: str = ""


def build_header(
    document: Node, subject: str, identity: Identity, templates: Templates, *, is_subject_rendered: bool = False
) -> HeaderFields:
    """Header of the message.

    Args:
        document: Top level; its addresses and ``headers`` are not rendered yet.
        subject: Rendered and cleaned subject.
        is_subject_rendered: There is something of the data in the subject.
        identity: For ``Date`` and ``Message-ID``.
        templates: For what is not rendered yet.

    Raises:
        DocumentError: An address or header that cannot be written, or no author.
    """
    given = _given_fields(document, templates)
    slots, domain = _address_fields(document, identity, templates, given)
    encode = encode_rendered_field if is_subject_rendered else encode_field
    slots["subject"] = encode("Subject", subject) if subject else b""
    slots["date"] = f"Date: {format_date(identity.seen_at)}\r\n".encode("ascii")
    slots["message-id"] = f"Message-ID: <{message_digest(identity)}@{domain}>\r\n".encode("ascii")
    slots.update(given.instead)
    unsubscribe = b"" if "list-unsubscribe" in given.names else _unsubscribe_fields(document)
    ordered = [slots.get(name, b"") for name in _ORDER]
    return HeaderFields(b"".join((*ordered, _MIME_VERSION, *given.further, unsubscribe)), domain)


def _address_fields(
    document: Node, identity: Identity, templates: Templates, given: _GivenFields
) -> tuple[dict[str, bytes], str]:
    """Fields with addresses by lower-case name, and the domain of the author."""
    slots: dict[str, bytes] = {}
    authors = read_mailboxes(document, "from", templates)
    if authors is None and identity.envelope is not None:
        authors = (Mailbox("", identity.envelope),)
    if authors is not None:
        slots["from"] = encode_mailboxes("From", authors)
        if len(authors) > 1:
            slots["sender"] = encode_mailboxes("Sender", authors[:1])
    for field, name in (("Reply-To", "replyTo"), ("To", "to"), ("Cc", "cc")):
        mailboxes = read_mailboxes(document, name, templates)
        if mailboxes is not None:
            slots[field.lower()] = encode_mailboxes(field, mailboxes)
    if not (slots.keys() | given.instead.keys()) & {"to", "cc"}:
        slots["to"] = _UNDISCLOSED
    if "from" in given.instead:
        return slots, _domain_of(given.author) or identity.host_name
    if authors is None:
        raise DocumentError(f"{document.path}.from", "no author: neither from nor envelope")
    return slots, authors[0].address.domain


def _domain_of(author: str) -> str | None:
    try:
        return parse_address(split_addresses(author)[0].address).domain
    except InvalidAddressError:
        return None


def _given_fields(document: Node, templates: Templates) -> _GivenFields:
    given = _GivenFields({}, [], set())
    for name, text, source in _given_values(document, templates):
        lower = name.lower()
        field = encode_field(name, text) if text == source else encode_rendered_field(name, text)
        given.names.add(lower)
        if lower in _ORDER:
            given.instead[lower] = given.instead.get(lower, b"") + field
            given.author = given.author or (text if lower == "from" else "")
        else:
            given.further.append(field)
    return given


def _given_values(document: Node, templates: Templates) -> Iterator[tuple[str, str, str]]:
    """Name, rendered text and source of every header to be written; it is such that it can be."""
    faults = document.faults
    node = document.node("headers")
    for name, value in node.values.items() if node is not None else ():
        path = f"{document.path}.headers.{name}"
        if value is None or name.lower() in _IGNORED:
            continue
        if not is_field_name(name):
            faults.fail(path, "not a field name")
            continue
        for one in value if isinstance(value, list) else [value]:
            if one is None:
                continue
            try:
                text = _FOLD.sub("", header_value_text(one))
            except HeaderError as error:
                faults.fail(path, str(error))
                continue
            if _BREAKING.search(text):
                faults.fail(path, "CR, LF or NUL in a value")
                continue
            rendered = templates.render(text, path)
            yield name, text if rendered == text else clean_line(rendered), text


def _unsubscribe_fields(document: Node) -> bytes:
    """``List-Unsubscribe`` and its companion (RFC 2369, RFC 8058; spec html-css-dkim.md 6)."""
    node = document.node("unsubscribe")
    if node is None:
        return b""
    url = clean_url(node.text("url") or "")
    if url and not url.lower().startswith(("https://", "http://")):
        node.faults.fail(f"{node.path}.url", "neither http nor https")
        url = ""
    entries = [f"<{url}>"] if url else []
    email = (node.text("email") or "").strip()
    if email:
        try:
            entries.append(f"<mailto:{quote(parse_address(email).wire, safe=_IN_MAILTO)}>")
        except InvalidAddressError as error:
            node.faults.fail(f"{node.path}.email", str(error))
    if not entries:
        return b""
    field = encode_field("List-Unsubscribe", ", ".join(entries))
    if node.boolean("oneclick"):
        if url.lower().startswith("https://"):
            return field + _UNSUBSCRIBE_POST
        node.faults.note(f"{node.path}.oneclick", "left out: the url is not https")
    return field


def format_date(instant: datetime) -> str:
    """RFC 5322 date in UTC."""
    utc = instant.astimezone(UTC)
    return f"{_WEEKDAYS[utc.weekday()]}, {utc.day:02d} {_MONTHS[utc.month - 1]} {utc:%Y %H:%M:%S} +0000"


def message_digest(identity: Identity) -> str:
    """Left side of the ``Message-ID``: the same on every attempt of one delivery (spec responsive.md 5.1).

    SHA-256 over envelope (null without one), recipient, mime, data (null without one) and seen, each as compact JSON,
    joined by LF.
    """
    if identity.digest is not None:
        return identity.digest
    return hashlib.sha256(b"".join(identity_octets(identity))).hexdigest()[:ID_DIGITS]


def identity_octets(identity: Identity) -> tuple[bytes, bytes, bytes]:
    """What `message_digest` covers: up to ``mime``, this, and the rest."""
    seen = identity.seen_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    envelope = msgspec.json.encode(identity.envelope.text if identity.envelope is not None else None)
    recipient = msgspec.json.encode(identity.recipient)
    data = compact_json(identity.data) if identity.data is not None else b"null"
    before, after = b"%b\n%b\n" % (envelope, recipient), b"\n%b\n%b" % (data, msgspec.json.encode(seen))
    return before, compact_json(identity.mime), after
