"""Delivery status notifications (RFC 3461, 3464, 6522; RFC 6533 for international addresses; spec delivery.md 16.2).

Facts in, the message out. Replies, names and addresses come from outside: none of them can add a field or a part.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from datetime import datetime
from email.utils import format_datetime
from typing import Literal

import msgspec

from relayq.compose.analysis import has_long_line
from relayq.compose.eightbit import to_seven_bit
from relayq.compose.encodings import encode_quoted_printable
from relayq.compose.errors import ConversionImpossibleError
from relayq.compose.header_values import encode_field, fold_field
from relayq.compose.headers import find_header
from relayq.compose.long_lines import treat_long_lines
from relayq.compose.parameters import encode_parameter_field
from relayq.model import EmailAddress

_LONGEST_WORD = 240
"""Characters of a word in a field that stay together; further ones would not fit on a line of 998 octets."""
_TEXT_COLUMNS = 76
_TYPED_ADDRESS = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*);(.*)", re.DOTALL)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CHARACTERS_LOST = "?"

_SUBJECTS = {
    "failed": "Your message could not be delivered",
    "delayed": "Your message is delayed",
    "relayed": "Your message was passed on",
}
_EXPLANATIONS = {
    "failed": "Your message could not be delivered to the recipient below. It will not be tried again.",
    "delayed": "Your message could not be delivered to the recipient below yet. You need not send it again.",
    "relayed": "Your message was passed on to a mail server that does not confirm what happens to it further on.",
}


class DsnFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a report tells.

    Attributes:
        action: What happened.
        author: Address in ``From``.
        envelope: Envelope sender of the report, empty for the null sender.
        reporting_mta: Name of this server.
        message_id: Of the report, with its angle brackets.
        sender: Who gets the report.
        recipient: Whom the message was for.
        original_recipient: ``orcpt`` of the message, ``None`` for the recipient.
        envelope_id: ``envid`` of the message, printable ASCII.
        arrived_at: When the message came in.
        at: When the last attempt ended.
        retry_until: When trying ends; for a delay.
        status: Enhanced status.
        reply: Code, status and text the server replied, ``None`` without a reply.
        reason: In words, where there was no reply.
        remote_mta: Name, or address in brackets, of the server; ``None`` without a connection.
        content: The message with CRLF line ends and without NUL; ``None`` when it is not at hand.
        is_full: Return all of it, not only its header.
    """

    action: Literal["failed", "delayed", "relayed"]
    author: str
    envelope: str = ""
    reporting_mta: str
    message_id: str
    sender: EmailAddress
    recipient: EmailAddress
    original_recipient: str | None = None
    envelope_id: str | None = None
    arrived_at: datetime | None = None
    at: datetime
    retry_until: datetime | None = None
    status: str
    reply: str | None = None
    reason: str = ""
    remote_mta: str | None = None
    content: bytes | None = None
    is_full: bool = False

    @property
    def is_international(self) -> bool:
        """An address in the report cannot be written in ASCII."""
        return self.recipient.needs_smtputf8 or not (self.original_recipient or "").isascii()


class _Report(msgspec.Struct, omit_defaults=True):
    """The outbox message (spec delivery.md 16.2)."""

    envelope: str
    recipient: str
    mime: str | None = None
    key: str | None = None
    dsn: dict[str, str] | None = None


def encode_report(facts: DsnFacts, mime: bytes, key: str | None = None) -> bytes:
    """The JSON of a message for the outbox; nobody ever reports about it.

    Args:
        facts: What the report tells.
        mime: From :func:`compose_report`.
        key: Where ``mime`` was stored, ``None`` when it goes into the JSON.
    """
    text = mime.decode("utf-8") if key is None else None
    return msgspec.json.encode(_Report(facts.envelope, facts.sender.text, text, key, {"notify": "NEVER"}))


def compose_report(facts: DsnFacts) -> bytes:
    """The report as a message: valid UTF-8, ASCII unless there are international addresses or such content."""
    parts = [_explanation(facts), _delivery_status(facts)]
    returned = None if facts.content is None else _returned(facts.content, is_full=facts.is_full)
    if returned is not None:
        parts.append(returned)
    # A text cannot hold its own digest: no octet of the message or of a reply can end a part.
    boundary = "=_" + hashlib.sha256(b"".join(parts)).hexdigest()[:48]
    delimiter = b"--" + boundary.encode("ascii")
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--\r\n"
    return _header(facts, boundary, is_ascii=body.isascii()) + b"\r\n" + body


def _header(facts: DsnFacts, boundary: str, *, is_ascii: bool) -> bytes:
    parameters = [("report-type", "delivery-status"), ("boundary", boundary)]
    fields = [
        encode_field("From", f"Mail Delivery System <{facts.author}>"),
        encode_field("To", facts.sender.wire.decode("utf-8")),
        encode_field("Subject", _SUBJECTS[facts.action]),
        encode_field("Date", format_datetime(facts.at)),
        encode_field("Message-ID", facts.message_id),
        encode_field("Auto-Submitted", "auto-replied"),
        encode_field("MIME-Version", "1.0"),
        encode_parameter_field("Content-Type", "multipart/report", parameters),
    ]
    if not is_ascii:
        fields.append(encode_field("Content-Transfer-Encoding", "8bit"))
    return b"".join(fields)


# --- part 1: for people ---------------------------------------------------------------------------------------------


def _explanation(facts: DsnFacts) -> bytes:
    paragraphs = [
        f"This is the mail server {facts.reporting_mta}.",
        _EXPLANATIONS[facts.action],
        "    " + facts.recipient.text,
    ]
    if facts.retry_until is not None:
        paragraphs.append(f"Delivery is tried until {format_datetime(facts.retry_until)}.")
    if facts.reply is not None:
        who = f"The server {facts.remote_mta} said:" if facts.remote_mta else "The server said:"
        paragraphs += [who, _wrap(facts.reply)]
    elif facts.reason:
        paragraphs += ["The reason:", _wrap(f"{facts.status} {facts.reason}")]
    text = _printable("\n\n".join(paragraphs), keep="\n") + "\n"
    octets = text.replace("\n", "\r\n").encode("utf-8")
    if octets.isascii():
        return b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + octets
    head = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return head + encode_quoted_printable(octets)


def _wrap(text: str) -> str:
    return textwrap.fill(text, _TEXT_COLUMNS, initial_indent="    ", subsequent_indent="    ")


# --- part 2: for programs -------------------------------------------------------------------------------------------


def _delivery_status(facts: DsnFacts) -> bytes:
    """Both groups of fields; international addresses need the other media type (RFC 6533 section 4)."""
    groups = (_message_fields(facts), _recipient_fields(facts))
    text = "\r\n".join("".join(_field(name, value, facts) for name, value in group) for group in groups)
    if not facts.is_international:
        return b"Content-Type: message/delivery-status\r\n\r\n" + text.encode("ascii")
    head = b"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    return head + text.encode("utf-8")


def _message_fields(facts: DsnFacts) -> list[tuple[str, str]]:
    fields = [("Reporting-MTA", f"dns; {facts.reporting_mta}")]
    if facts.envelope_id is not None:
        fields.append(("Original-Envelope-Id", facts.envelope_id))
    if facts.arrived_at is not None:
        fields.append(("Arrival-Date", format_datetime(facts.arrived_at)))
    return fields


def _recipient_fields(facts: DsnFacts) -> list[tuple[str, str]]:
    final = facts.recipient.text if facts.recipient.needs_smtputf8 else facts.recipient.wire.decode("ascii")
    fields = [
        ("Original-Recipient", _typed(facts.original_recipient or final)),
        ("Final-Recipient", _typed(final, may_be_typed=False)),
        ("Action", facts.action),
        ("Status", facts.status),
    ]
    if facts.remote_mta:
        fields.append(("Remote-MTA", f"dns; {facts.remote_mta}"))
    if facts.reply is not None:
        fields.append(("Diagnostic-Code", f"smtp; {facts.reply}"))
    fields.append(("Last-Attempt-Date", format_datetime(facts.at)))
    if facts.retry_until is not None:
        fields.append(("Will-Retry-Until", format_datetime(facts.retry_until)))
    return fields


def _typed(address: str, *, may_be_typed: bool = True) -> str:
    """Address with its type; one that is not ASCII is of the type ``utf-8`` (RFC 6533 section 3)."""
    kind, bare = "rfc822", address
    typed = _TYPED_ADDRESS.fullmatch(address) if may_be_typed else None
    if typed is not None:
        kind, bare = typed[1], typed[2].strip(" ")
    if kind.lower() == "rfc822" and not bare.isascii():
        kind = "utf-8"
    return f"{kind}; {bare}"


def _field(name: str, value: str, facts: DsnFacts) -> str:
    """One field, folded; in the ASCII form of the report other characters become question marks."""
    text = _printable(value)
    if not facts.is_international:
        text = text.encode("ascii", "replace").decode("ascii")
    words = [word[at : at + _LONGEST_WORD] for word in text.split(" ") for at in range(0, len(word), _LONGEST_WORD)]
    return fold_field(name, " ".join(words))


def _printable(text: str, keep: str = "") -> str:
    """Text without what could end a line or is no character at all."""
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] in keep else _CHARACTERS_LOST, text)


# --- part 3: the message itself -------------------------------------------------------------------------------------


def _returned(content: bytes, *, is_full: bool) -> bytes | None:
    """The message, or its header where that is asked for or the message cannot be put into another one."""
    if is_full:
        whole = _as_utf8(treat_long_lines(content, "wrap"))
        if whole is not None and not has_long_line(whole):
            return _returned_message(whole)
    span = find_header(content)
    return _returned_header(content[span.start : span.end])


def _returned_message(content: bytes) -> bytes:
    """RFC 2046 section 5.2.1 allows no transfer encoding here; raw UTF-8 in the header takes RFC 6532's type."""
    span = find_header(content)
    kind = b"rfc822" if content[: span.body_start].isascii() else b"global"
    encoding = b"" if content.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
    return b"Content-Type: message/" + kind + b"\r\n" + encoding + b"\r\n" + content


def _returned_header(block: bytes) -> bytes | None:
    if not block:
        return None
    if block.isascii() and not has_long_line(block):
        return b"Content-Type: text/rfc822-headers\r\n\r\n" + block
    head = b"Content-Type: text/rfc822-headers; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return head + encode_quoted_printable(block)


def _as_utf8(content: bytes) -> bytes | None:
    """Content that JSON can carry: as it is, else with its parts encoded; ``None`` when neither works."""
    if _is_utf8(content):
        return content
    try:
        encoded = to_seven_bit(content)
    except ConversionImpossibleError:
        return None
    return encoded if _is_utf8(encoded) else None


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
