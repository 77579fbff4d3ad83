"""What others make of a message: the parser of the standard library and one in Rust, and our own tree beside them."""

from __future__ import annotations

import email
import email.message
import email.policy
import warnings
from typing import NamedTuple

import fast_mail_parser

from relayq.compose.encodings import decode_body
from relayq.compose.errors import TransferDecodingError
from relayq.compose.mime_tree import parse_tree

Leaf = tuple[str, bytes]


class Reading(NamedTuple):
    """What a parser says about a part.

    Attributes:
        media_type: In lower case.
        names: Of the fields, in lower case, each once.
        content: Decoded; ``None`` for a part that has parts.
        content_id: Without angle brackets; empty for none.
        disposition: ``attachment``, ``inline``, or empty for none.
        has_file_name: It is a file with a name.
    """

    media_type: str
    names: tuple[str, ...]
    content: bytes | None
    content_id: str
    disposition: str
    has_file_name: bool


def check_by_two_parsers(mime: bytes) -> None:
    """Two parsers that know nothing of one another read the same parts, fields and texts, and complain of nothing.

    Raises:
        AssertionError: They do not.
    """
    assert _by_stdlib(email.message_from_bytes(mime)) == _by_rust(fast_mail_parser.parse_email_tree(mime))
    mail = fast_mail_parser.parse_email(mime)
    # An attachment may have a charset that only its sender knows.
    assert not [warning for warning in mail.warnings if warning.kind != "charset-fallback"]
    message = email.message_from_bytes(mime, policy=email.policy.default)
    assert not [defect for part in message.walk() for defect in part.defects]
    if mime.partition(b"\r\n\r\n")[0].isascii():
        assert not [defect for value in message.values() for defect in getattr(value, "defects", ())]
        assert (mail.subject or "").split() == str(message["Subject"] or "").split()
        for name, found in (("to", mail.to), ("cc", mail.cc), ("reply-to", mail.reply_to)):
            asked = message[name].addresses if message[name] is not None else ()
            assert [one.address for one in found] == [one.addr_spec for one in asked]


def _by_stdlib(part: email.message.Message) -> list[Reading]:
    inside = part.get_payload() if part.is_multipart() else []
    content = None if part.get_content_maintype() == "multipart" else part.get_payload(decode=True)
    disposition = part.get_content_disposition() or ""
    own = Reading(
        part.get_content_type(),
        tuple(dict.fromkeys(name.lower() for name in part.keys())),  # noqa: SIM118 - a message is no mapping
        content if isinstance(content, bytes) else None,
        part.get("Content-ID", "").strip("<> "),
        disposition,
        part.get_filename() is not None,
    )
    return [own, *(reading for one in inside if isinstance(one, email.message.Message) for reading in _by_stdlib(one))]


def _by_rust(part: fast_mail_parser.PyMimePart) -> list[Reading]:
    own = Reading(
        part.content_type,
        tuple(dict.fromkeys(name.lower() for name in part.headers)),
        None if part.is_message else part.content,
        part.content_id or "",
        part.disposition or "",
        bool(part.filename),
    )
    return [own, *(reading for one in part.children for reading in _by_rust(one))]


def leaves_by_stdlib(mime: bytes) -> list[Leaf]:
    """Media type and decoded content of every leaf part, in order."""
    found: list[Leaf] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in email.message_from_bytes(mime).walk():
            if not part.is_multipart():
                payload = part.get_payload(decode=True)
                assert isinstance(payload, bytes)
                found.append((part.get_content_type(), payload))
    return found


def leaves_by_tree(mime: bytes) -> list[Leaf]:
    """The same by our own tree; bodies that cannot be decoded as they stand."""
    found: list[Leaf] = []
    for part in parse_tree(mime).walk():
        if part.children:
            continue
        body = mime[part.body_start : part.body_end]
        try:
            found.append((part.media_type, decode_body(body, part.transfer_encoding)))
        except TransferDecodingError:
            found.append((part.media_type, body))
    return found
