"""Commands as octets: encoded from checked records, and impossible to inject with.

Every encoder refuses a control character in what it was given with :class:`LocalProtocolError`: addresses and options
were checked when they were parsed, so it is our bug, and must not become a second command on the wire.
"""

from __future__ import annotations

import re

import msgspec

from relayq.model import DsnOptions, EmailAddress
from relayq.smtp.capabilities import Capabilities
from relayq.smtp.errors import LocalProtocolError

DATA = b"DATA\r\n"
QUIT = b"QUIT\r\n"
RESET = b"RSET\r\n"
STARTTLS = b"STARTTLS\r\n"
END_OF_DATA = b".\r\n"

_CONTROLS = bytes([*range(0x20), 0x7F])
_XTEXT_SPECIAL = re.compile(rb"[^!-*,-<>-~]")
_UTF8_XTEXT_SPECIAL = re.compile(r"[^!-*,-<>-\[\]-~]")
_TYPED_ADDRESS = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*);(.*)", re.DOTALL)
_NOTIFY_VALUES = frozenset({"NEVER", "SUCCESS", "FAILURE", "DELAY"})
_RET_VALUES = frozenset({"FULL", "HDRS"})


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """One mail to one recipient as the dialogue needs it.

    Attributes:
        sender: Reverse-path; ``None`` is the null sender.
        recipient: Forward-path.
        content: Final octets with CRLF line ends, before dot-stuffing; ``None`` when they are loaded only after the
            recipient was accepted (spec delivery.md 12.3).
        lead: Octets in front of the content, whole lines of a header: a large content is not copied to get signatures.
        has_8bit: The content has octets above 127; without meaning while it is not loaded.
        has_utf8_headers: The content's header has raw UTF-8: SMTPUTF8 is asked for when offered, but not required, as
            it is by an address with a non-ASCII local part.
        dsn: Notification wishes to be relayed, defaults of the configuration already filled in; ``None`` for none.
        with_orcpt: Name the original recipient along with the wishes; false when they are only the configuration's.
    """

    sender: EmailAddress | None
    recipient: EmailAddress
    content: bytes | None = None
    lead: bytes = b""
    has_8bit: bool = False
    has_utf8_headers: bool = False
    dsn: DsnOptions | None = None
    with_orcpt: bool = True


def encode_line(*parts: bytes) -> bytes:
    """One command line.

    Raises:
        LocalProtocolError: A part holds a control character.
    """
    line = b"".join(parts)
    if len(line.translate(None, _CONTROLS)) != len(line):
        raise LocalProtocolError("control character in a command")
    return line + b"\r\n"


def encode_mail(transaction: Transaction, capabilities: Capabilities, size: int | None, *, plain: bool) -> bytes:
    """``MAIL FROM`` with the parameters the peer understands (spec delivery.md 12.1).

    Args:
        transaction: What is going to be sent.
        capabilities: What the peer announced.
        size: Octets of the content, ``None`` while it is not loaded.
        plain: Leave out every optional parameter, because the peer choked on one.
    """
    sender = transaction.sender.wire if transaction.sender is not None else b""
    parameters = b""
    with_utf8 = needs_smtputf8(transaction) or (transaction.has_utf8_headers and capabilities.smtputf8)
    if not plain:
        if size is not None and capabilities.size:
            parameters = b" SIZE=%d" % size
        # Content that is not loaded yet may turn out to have 8-bit octets; announcing them does no harm.
        if with_utf8 or (capabilities.eight_bit_mime and (transaction.has_8bit or size is None)):
            parameters += b" BODY=8BITMIME"
    if with_utf8:
        parameters += b" SMTPUTF8"
    if not plain and capabilities.dsn and transaction.dsn is not None:
        parameters += _mail_dsn_parameters(transaction.dsn)
    return encode_line(b"MAIL FROM:<", sender, b">", parameters)


def encode_rcpt(transaction: Transaction, capabilities: Capabilities, *, plain: bool) -> bytes:
    """``RCPT TO`` with the parameters the peer understands; arguments as for :func:`encode_mail`."""
    parameters = b""
    if not plain and capabilities.dsn and transaction.dsn is not None:
        parameters = _encode_notify(transaction.dsn)
        if transaction.with_orcpt:
            parameters += b" ORCPT=" + encode_original_recipient(transaction.dsn.orcpt, transaction.recipient)
    return encode_line(b"RCPT TO:<", transaction.recipient.wire, b">", parameters)


def needs_smtputf8(transaction: Transaction) -> bool:
    """Whether an address cannot be written without SMTPUTF8 (spec delivery.md 12.2)."""
    sender = transaction.sender
    return transaction.recipient.needs_smtputf8 or (sender is not None and sender.needs_smtputf8)


def encode_xtext(octets: bytes) -> bytes:
    """Xtext of RFC 3461 section 4: everything but printable ASCII, ``+`` and ``=`` become ``+`` and two hex digits."""
    return _XTEXT_SPECIAL.sub(lambda match: b"+%02X" % match[0][0], octets)


def encode_original_recipient(orcpt: str | None, recipient: EmailAddress) -> bytes:
    """Value of ``ORCPT=``: address type, semicolon, encoded address.

    A UTF-8 address takes the form that needs no SMTPUTF8, ``utf-8-addr-xtext`` (RFC 6533 section 3).

    Args:
        orcpt: ``address`` or ``type;address``, ``None`` for the recipient itself.
        recipient: Used when there is no ``orcpt``; an international domain in A-labels, as on the wire.
    """
    if orcpt is None:
        orcpt = recipient.text if recipient.needs_smtputf8 else recipient.wire.decode("ascii")
        kind, address = None, orcpt
    else:
        typed = _TYPED_ADDRESS.fullmatch(orcpt)
        kind, address = typed.groups() if typed else (None, orcpt)
    if kind is None:
        kind = "rfc822" if address.isascii() else "utf-8"
    if kind.lower() == "utf-8":
        encoded = _UTF8_XTEXT_SPECIAL.sub(lambda match: rf"\x{{{ord(match[0]):02X}}}", address).encode("ascii")
    else:
        encoded = encode_xtext(address.encode("utf-8", "replace"))
    return kind.encode("ascii") + b";" + encoded


def _mail_dsn_parameters(dsn: DsnOptions) -> bytes:
    parameters = b""
    if dsn.ret is not None:
        if dsn.ret not in _RET_VALUES:
            raise LocalProtocolError("RET is neither FULL nor HDRS")
        parameters = b" RET=" + dsn.ret.encode("ascii")
    if dsn.envid is not None:
        parameters += b" ENVID=" + encode_xtext(dsn.envid.encode("utf-8", "replace"))
    return parameters


def _encode_notify(dsn: DsnOptions) -> bytes:
    if not dsn.notify:
        return b""
    if not _NOTIFY_VALUES.issuperset(dsn.notify):
        raise LocalProtocolError("unknown NOTIFY value")
    return b" NOTIFY=" + ",".join(dsn.notify).encode("ascii")
