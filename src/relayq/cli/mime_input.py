"""A MIME message as sendmail takes it becomes JSON messages, one per recipient (spec operations.md 15, 18, 19).

Works on octets: fields that stay are never decoded, so their folding, order and signatures survive. Only line ends
change, ``Bcc``, ``Return-Path`` and ``x-mq-*`` fields go, and missing ``Date``, ``Message-ID`` and ``From`` come.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, getaddresses
from typing import Any, Final

import msgspec

from relayq.cli.mq_headers import PREFIX, MqHeaders, read_mq_headers
from relayq.model.address import EmailAddress, InvalidAddressError, parse_address
from relayq.model.timestamp import format_timestamp

RECIPIENT_FIELDS: Final = ("to", "cc", "bcc")
_SENDER_FIELDS: Final = ("return-path", "from", "sender")
_ID_OCTETS: Final = 10  # 16 characters of base32
_FIELD_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+(?=[ \t]*:)")
_FOLD = re.compile(r"[ \t]*\r?\n[ \t]+")


class UnusableMailError(ValueError):
    """Input that cannot be sent: the text says why (exit code 65)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What the caller says beside the message.

    Attributes:
        recipients: Addresses as given.
        extract: Also take the addresses of To, Cc and Bcc.
        envelope: Sender as given; ``None`` looks into the header, empty or ``<>`` is the null sender.
        command: Name of the command, for the property ``cli``.
        arguments: Its arguments without settings: those may contain passwords.
        user: Login name of the caller.
        hostname: Name of this host.
        server_id: Prefix of message ids, may be empty.
        now: Aware local time.
        random_octets: Source of ids.
    """

    recipients: tuple[str, ...]
    extract: bool
    envelope: str | None
    command: str
    arguments: tuple[str, ...]
    user: str
    hostname: str
    server_id: str
    now: datetime
    random_octets: Callable[[int], bytes]

    def new_id(self) -> str:
        """Return an id nobody else has (spec operations.md 19)."""
        prefix = f"{self.server_id}-" if self.server_id else ""
        return prefix + base64.b32encode(self.random_octets(_ID_OCTETS)).decode("ascii")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field: name in lower case, and all its octets with folds and LF line ends."""

    name: str
    octets: bytes

    @property
    def value(self) -> str:
        """Unfolded text behind the colon.

        Raises:
            UnusableMailError: It is not UTF-8.
        """
        try:
            text = self.octets.partition(b":")[2].decode("utf-8")
        except UnicodeDecodeError:
            raise UnusableMailError(f"header {self.name} is not UTF-8") from None
        return _FOLD.sub(" ", text).strip()


@dataclass(frozen=True, slots=True)
class Injected:
    """JSON messages ready to publish, and what the caller should be told (one sentence each)."""

    bodies: tuple[bytes, ...]
    warnings: tuple[str, ...]


def compose_messages(mime: bytes, injection: Injection) -> Injected:
    """Make one JSON message per recipient.

    Raises:
        UnusableMailError: No usable recipient, an address that is none, or octets that JSON cannot carry.
    """
    header, body = split_header(mime)
    options = _read_options(header)
    recipients = _find_recipients(header, injection)
    sender = _find_sender(header, injection, options)
    kept = [field for field in header if not _is_removed(field, injection)]
    kept += _missing_fields(kept, injection, sender)
    text = _as_text(kept, body)
    bodies = tuple(_encode(recipient, sender, text, options, injection) for recipient in recipients)
    return Injected(bodies, tuple(options.problems))


def _read_options(header: Iterable[Field]) -> MqHeaders:
    readable: list[tuple[str, str]] = []
    problems: list[str] = []
    for field in header:
        if field.name.startswith(PREFIX):
            try:
                readable.append((field.name, field.value))
            except UnusableMailError as error:
                problems.append(f"{error} and is dropped")
    options = read_mq_headers(readable)
    options.problems += problems
    return options


def split_header(mime: bytes) -> tuple[list[Field], bytes]:
    """Header fields and body, line ends as LF; a line that is no field begins the body, as with sendmail."""
    lines = mime.replace(b"\r\n", b"\n")
    fields: list[Field] = []
    at = 0
    if lines.startswith(b"From "):  # the line mailboxes put in front
        at = lines.find(b"\n") + 1 or len(lines)
    while at < len(lines):
        end = lines.find(b"\n", at) + 1 or len(lines)
        line = lines[at:end]
        if line == b"\n":
            return fields, lines[end:]
        if fields and line[:1] in {b" ", b"\t"}:
            fields[-1] = Field(fields[-1].name, fields[-1].octets + line)
        elif (name := _FIELD_NAME.match(line)) is not None:
            fields.append(Field(name[0].decode("ascii").lower(), line))
        else:
            return fields, lines[at:]
        at = end
    return fields, b""


def _find_recipients(header: Sequence[Field], injection: Injection) -> tuple[EmailAddress, ...]:
    """Given and extracted addresses, in that order, without repetitions."""
    texts = list(injection.recipients)
    if injection.extract:
        texts += _addresses(field.value for field in header if field.name in RECIPIENT_FIELDS)
    found: dict[tuple[str, str], EmailAddress] = {}
    for text in texts:
        try:
            address = parse_address(text)
        except InvalidAddressError as error:
            raise UnusableMailError(f"recipient {text!r} is not usable: {error}") from None
        found.setdefault((address.text.rpartition("@")[0], address.domain), address)
    if not found:
        hint = "" if injection.extract else "; name one with --recipient, or take those of the header with -t"
        raise UnusableMailError(f"there is no recipient{hint}")
    return tuple(found.values())


def _find_sender(header: Sequence[Field], injection: Injection, options: MqHeaders) -> str:
    """Text of the reverse-path; empty for the null sender."""
    if injection.envelope is not None:
        return _parse_sender(injection.envelope, "--envelope")
    if options.envelope is not None:
        try:
            return _parse_sender(options.envelope, f"{PREFIX}envelope")
        except UnusableMailError as error:
            options.problems.append(str(error))
    for name in _SENDER_FIELDS:
        values = [field.value for field in header if field.name == name]
        if name == "return-path" and "<>" in values:
            return ""
        for text in _addresses(values):
            try:
                return parse_address(text).text
            except InvalidAddressError:
                continue
    return _default_sender(injection)


def _parse_sender(text: str, source: str) -> str:
    text = text.strip().removeprefix("<").removesuffix(">").strip()
    try:
        return parse_address(text).text if text else ""
    except InvalidAddressError as error:
        raise UnusableMailError(f"sender in {source} is not usable: {error}") from None


def _default_sender(injection: Injection) -> str:
    try:
        return parse_address(f"{injection.user}@{injection.hostname}").text
    except InvalidAddressError:
        return ""


def _addresses(values: Iterable[str]) -> list[str]:
    """Bare addresses of header values, names and comments removed; empty groups give none."""
    return [address for value in values for _, address in _split_addresses(value) if address]


def _split_addresses(value: str) -> list[tuple[str, str]]:
    # The strict mode of newer Pythons drops all addresses of a header because of an empty group or a trailing comma.
    # What it protects from does not matter here: every address is checked, and a wrong one stops the message.
    try:
        return getaddresses([value], strict=False)
    except TypeError:
        return getaddresses([value])


def _is_removed(field: Field, injection: Injection) -> bool:
    # Bcc stays when it was not read: then it is not ours to judge. Return-Path is for the final system only (RFC 5321
    # section 4.4).
    if field.name == "bcc":
        return injection.extract
    return field.name == "return-path" or field.name.startswith(PREFIX)


def _missing_fields(header: Sequence[Field], injection: Injection, sender: str) -> list[Field]:
    present = {field.name for field in header}
    wanted = {
        "date": f"Date: {format_datetime(injection.now)}",
        "message-id": f"Message-ID: <{injection.new_id()}@{injection.hostname}>",
        "from": f"From: {sender or _default_sender(injection) or f'mailer-daemon@{injection.hostname}'}",
    }
    return [Field(name, f"{line}\n".encode()) for name, line in wanted.items() if name not in present]


def _as_text(header: Sequence[Field], body: bytes) -> str:
    fields = b"".join(field.octets if field.octets.endswith(b"\n") else field.octets + b"\n" for field in header)
    octets = (fields + b"\n" + body).replace(b"\n", b"\r\n")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise UnusableMailError(
            f"line {line} has octets that are not UTF-8; encode such parts as quoted-printable or base64"
        ) from None


def _encode(recipient: EmailAddress, sender: str, text: str, options: MqHeaders, injection: Injection) -> bytes:
    message: dict[str, Any] = {"envelope": sender, "recipient": recipient.text, "mime": text}
    message |= options.properties
    message |= {
        "hostname": injection.hostname,
        "received": format_timestamp(injection.now.astimezone(UTC)),
        "message-id": injection.new_id(),
        "cli": {"command": injection.command, "arguments": list(injection.arguments), "user": injection.user},
    }
    return msgspec.json.encode(message)
