"""The one codec between outbox or result JSON and records.

The top level is cut into raw slices, so every value that is not changed leaves byte for byte as it came, digits,
escapes and inner white space included (spec messages.md 1). Only members the engine knows are decoded.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Container, Mapping
from datetime import datetime
from json.decoder import scanstring  # type: ignore[attr-defined]  # missing from the stubs, public since 2.6
from typing import Any

import msgspec

from relayq.model.address import EmailAddress, InvalidAddressError, parse_address
from relayq.model.attempt import Attempt
from relayq.model.message import DsnOptions, Message, ResultQueues, Smarthost
from relayq.model.timestamp import format_timestamp, parse_timestamp
from relayq.model.values import (
    as_bool,
    as_host_name,
    as_integer,
    as_key,
    as_queue_name,
    as_text,
    parse_ip,
)

MAX_NESTING = 128
INVALID_BODY_OCTETS = 65_536
"""Octets of an unusable body that a result repeats (spec results.md 8)."""

Members = dict[str, msgspec.Raw]

_decode_members = msgspec.json.Decoder(Members).decode
_decode_value = msgspec.json.Decoder().decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_objects = msgspec.json.Decoder(list[Members]).decode
_encode = msgspec.json.Encoder().encode

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKETS = re.compile(rb"[\[\]{}]")
_SURROGATE = re.compile(rb"\\u[dD][89abAB]")
_BLANK = " \t\n\r"
_SECURITY_LEVELS = frozenset(("optional", "opportunistic", "required", "verified"))
_DSN_EVENTS = frozenset(("SUCCESS", "FAILURE", "DELAY"))
_PRINTABLE = re.compile(r"[\x21-\x7e]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MIME_KINDS = (b'"'[0], b"{"[0])
_OPENING = b"[{"
_NULL = msgspec.Raw(b"null")


class InvalidBodyError(ValueError):
    """A body that is no JSON object; the message says why and, where known, at which octet."""


class InvalidMessageError(ValueError):
    """A JSON object that is not usable as a message.

    Attributes:
        property_name: The member that is wrong or missing.
        queues: Queues its failure goes to; ``None`` means the configured ones.
        keep_mime: Leave the content in the result.
        is_missing_content: There is neither ``mime`` nor ``key``: that is ``storage/error``, not ``amqp/invalid``.
    """

    def __init__(
        self,
        property_name: str,
        reason: str,
        *,
        queues: ResultQueues | None = None,
        keep_mime: bool = False,
        is_missing_content: bool = False,
    ) -> None:
        super().__init__(f"{property_name}: {reason}")
        self.property_name = property_name
        self.queues = queues
        self.keep_mime = keep_mime
        self.is_missing_content = is_missing_content


class ParseRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that decide what a usable message is.

    Attributes:
        loose_envelope: ``validate-envelope: loose``.
        loose_recipient: ``validate-recipient: loose``.
        merged_queues: Configured result queues when ``rabbitmq-queues-override`` is ``merge``, else ``None``.
    """

    loose_envelope: bool = False
    loose_recipient: bool = False
    merged_queues: ResultQueues | None = None


def decode_members(body: bytes) -> Members:
    """Top-level members in order; a name given twice keeps its first place and its last value.

    Raises:
        InvalidBodyError: Not UTF-8, not strict JSON, no object, or nested deeper than 128 levels.
    """
    if body.startswith(b"\xef\xbb\xbf"):
        body = body[3:]
    if not body.isascii():
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidBodyError(f"not UTF-8 at octet {error.start}") from None
    try:
        members = _decode_members(body)
    except RecursionError:
        raise InvalidBodyError(f"nested deeper than {MAX_NESTING} levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not _SURROGATE.search(body):
            raise InvalidBodyError(str(error)) from None
        members = _decode_with_surrogates(body)
    for raw in members.values():
        if memoryview(raw)[0] in _OPENING:
            _check_nesting(bytes(raw))
    return members


def _check_nesting(value: bytes) -> None:
    if value.count(b"{") + value.count(b"[") < MAX_NESTING:
        return
    depth = 1
    for match in _BRACKETS.finditer(_STRINGS.sub(b"", value)):
        depth += 1 if match[0] in b"[{" else -1
        if depth > MAX_NESTING:
            raise InvalidBodyError(f"nested deeper than {MAX_NESTING} levels")


def _reject_constant(name: str) -> None:
    raise InvalidBodyError(f"{name} is not JSON")


# parse_int and parse_float keep the digits as text: no limit on their number, and nobody looks at the value.
_scan_value = json.JSONDecoder(parse_constant=_reject_constant, parse_int=str, parse_float=str).raw_decode


def _decode_with_surrogates(body: bytes) -> Members:
    """Like the fast decoder, for objects with half a surrogate pair: legal JSON that UTF-8 cannot carry decoded."""
    text = body.decode("utf-8")
    members: Members = {}
    try:
        at = _skip_blanks(text, 0)
        if text[at : at + 1] != "{":
            raise InvalidBodyError("expected an object")
        at = _skip_blanks(text, at + 1)
        while text[at : at + 1] != "}":
            if members:
                at = _expect(text, at, ",")
            if text[at : at + 1] != '"':
                raise InvalidBodyError(f"expected a name at character {at}")
            name, at = scanstring(text, at + 1, True)
            start = _expect(text, at, ":")
            _, at = _scan_value(text, start)
            members[name] = msgspec.Raw(text[start:at].encode("utf-8"))
            at = _skip_blanks(text, at)
        if _skip_blanks(text, at + 1) != len(text):
            raise InvalidBodyError("something follows the object")
    except json.JSONDecodeError as error:
        raise InvalidBodyError(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise InvalidBodyError(f"nested deeper than {MAX_NESTING} levels") from None
    return members


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _expect(text: str, at: int, mark: str) -> int:
    at = _skip_blanks(text, at)
    if text[at : at + 1] != mark:
        raise InvalidBodyError(f"expected {mark!r} at character {at}")
    return _skip_blanks(text, at + 1)


def parse_message(members: Members, rules: ParseRules) -> Message:
    """Check every known property and make the record (spec messages.md 2, steps 2 to 5).

    Raises:
        InvalidMessageError: The first thing that is wrong.
    """
    found: dict[str, Any] = {"members": members}
    queues: ResultQueues | None = None
    raw_queues = members.get("queues")
    if raw_queues is not None and raw_queues != _NULL:
        try:
            queues, found["dsn_queue"] = _parse_queues(_decode_value(raw_queues), rules.merged_queues)
        except (ValueError, msgspec.MsgspecError) as error:
            raise InvalidMessageError("queues", _reason(error), keep_mime=_peek_keep_mime(members)) from None
        found["queues"] = queues
    name = ""
    try:
        for name, raw in members.items():
            parser = _PARSERS.get(name)
            if parser is not None and raw != _NULL:
                parser(found, raw)
        name = "recipient"
        _parse_recipient(found, members, loose=rules.loose_recipient)
        name = "envelope"
        found["sender"] = _parse_sender(members, loose=rules.loose_envelope)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        keep_mime = _peek_keep_mime(members)
        raise InvalidMessageError(name, _reason(error), queues=queues, keep_mime=keep_mime) from None
    if "mime" not in found and "mime_object" not in found and "key" not in found:
        raise InvalidMessageError(
            "mime",
            "neither mime nor key is given",
            queues=queues,
            keep_mime=found.get("keep_mime", False),
            is_missing_content=True,
        )
    return Message(**found)


def _reason(error: Exception) -> str:
    """What was wrong, without the value: decoder texts name a place, ours what was expected."""
    return "not representable" if isinstance(error, UnicodeError) else str(error)


def _peek_keep_mime(members: Members) -> bool:
    """``keepmime`` of an object that is not usable otherwise; anything but a boolean counts as false."""
    try:
        return as_bool(_decode_value(members["keepmime"])) if "keepmime" in members else False
    except (ValueError, msgspec.MsgspecError):
        return False


def _parse_recipient(found: dict[str, Any], members: Members, *, loose: bool) -> None:
    raw = members.get("recipient")
    if raw is None or raw == _NULL:
        raise ValueError("missing")
    try:
        found["recipient"] = parse_address(_decode_text(raw), loose=loose)
    except InvalidAddressError as error:
        raise ValueError(str(error)) from None


def _parse_sender(members: Members, *, loose: bool) -> EmailAddress | None:
    raw = members.get("envelope")
    if raw is None or raw == _NULL:
        return None
    text = _decode_text(raw)
    if not text.strip(" \t") or text.strip(" \t") == "<>":
        return None
    try:
        return parse_address(text, loose=loose)
    except InvalidAddressError as error:
        raise ValueError(str(error)) from None


def _as_object(raw: msgspec.Raw | object) -> dict[str, Any]:
    """A JSON object; an empty array counts as one (spec messages.md 3)."""
    value = _decode_value(raw) if isinstance(raw, msgspec.Raw) else raw
    if value == []:
        return {}
    if not isinstance(value, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - every bad value is one kind of error to the caller
    return value


def _parse_queues(value: object, merged: ResultQueues | None) -> tuple[ResultQueues, str | None]:
    given = _as_object(value)
    names = {role: as_queue_name(given.get(role)) for role in ("results", "success", "failure", "retry")}
    if merged is not None:
        names = {role: name if role in given else getattr(merged, role) for role, name in names.items()}
    return ResultQueues(**names), as_queue_name(given.get("dsn"))


def _parse_mime(found: dict[str, Any], raw: msgspec.Raw) -> None:
    first = memoryview(raw)[0]
    if first not in _MIME_KINDS:
        raise ValueError("expected a string or an object")
    if first == _MIME_KINDS[1]:
        if _decode_value(raw):
            found["mime_object"] = raw
        return
    text = _decode_text(raw)
    if text:
        found["mime"] = text.encode("utf-8")


def _parse_ips(found: dict[str, Any], raw: msgspec.Raw) -> None:
    value = _decode_value(raw)
    if isinstance(value, list):
        known = (parse_ip(entry) for entry in value if isinstance(entry, str))
        found["ips"] = tuple(dict.fromkeys(ip for ip in known if ip is not None))


def _parse_smarthost(found: dict[str, Any], raw: msgspec.Raw) -> None:
    value = _as_object(raw)
    hostname = value.get("hostname") if value.get("hostname") is not None else value.get("name")
    if hostname is None:
        raise ValueError("hostname is missing")
    port = as_integer(value["port"], 1, 65535) if value.get("port") is not None else 25
    username, password = value.get("username"), value.get("password")
    if (username is None) != (password is None):
        raise ValueError("username and password go together")
    found["smarthost"] = Smarthost(
        hostname=as_host_name(hostname),
        port=port,
        username=None if username is None else _credential(username),
        password=None if password is None else _credential(password),
    )


def _credential(value: object) -> str:
    text = as_text(value)
    if "\x00" in text:
        raise ValueError("NUL in a user name or password")
    return text


def _parse_dsn(found: dict[str, Any], raw: msgspec.Raw) -> None:
    value = _as_object(raw)
    notify, ret, orcpt, envid = (value.get(name) for name in ("notify", "ret", "orcpt", "envid"))
    found["dsn"] = DsnOptions(
        notify=None if notify is None else _parse_notify(notify),
        ret=None if ret is None else _parse_ret(ret),
        orcpt=None if orcpt is None else _bounded_text(orcpt, 500, "orcpt"),
        envid=None if envid is None else _parse_envid(envid),
        delay_sent=value.get("delay-sent") is True,
    )


def _parse_notify(value: object) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("notify: expected NEVER, or any of SUCCESS, FAILURE, DELAY")
    events = tuple(dict.fromkeys(event.strip().upper() for word in words for event in word.split(",") if event.strip()))
    if not events or (events != ("NEVER",) and not _DSN_EVENTS.issuperset(events)):
        raise ValueError("notify: expected NEVER, or any of SUCCESS, FAILURE, DELAY")
    return events


def _parse_ret(value: object) -> str:
    word = as_text(value, "ret FULL or HDRS").upper()
    if word not in {"FULL", "HDRS"}:
        raise ValueError("ret: expected FULL or HDRS")
    return word


def _bounded_text(value: object, limit: int, what: str) -> str:
    text = as_text(value, f"{what} as a string")
    if len(text) > limit or _CONTROL.search(text):
        raise ValueError(f"{what}: expected at most {limit} characters without control characters")
    return text


def _parse_envid(value: object) -> str:
    text = _bounded_text(value, 100, "envid")
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("envid: expected printable ASCII")
    return text


def _parse_dkim(found: dict[str, Any], raw: msgspec.Raw) -> None:
    value = _decode_value(raw)
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError("expected an object or an array of objects")  # noqa: TRY004 - as above
        for name in ("domain", "selector", "key"):
            if not isinstance(entry.get(name), str) or not entry[name]:
                raise ValueError(f"{name} is missing or no string")
    if entries:
        found["dkim"] = raw


def _parse_data(found: dict[str, Any], raw: msgspec.Raw) -> None:
    _as_object(raw)
    found["data"] = raw


def _parse_security(found: dict[str, Any], raw: msgspec.Raw) -> None:
    level = as_text(_decode_value(raw))
    if level not in _SECURITY_LEVELS:
        raise ValueError("expected optional, opportunistic, required or verified")
    found["security"] = level


def _parse_retries(found: dict[str, Any], raw: msgspec.Raw) -> None:
    value = _decode_value(raw)
    if not isinstance(value, list) or not value:
        raise ValueError("expected a non-empty array of seconds")
    found["retries"] = tuple(as_integer(entry, 1) for entry in value)


def _parse_nextattempt(found: dict[str, Any], raw: msgspec.Raw) -> None:
    value = _as_object(raw)
    if value.get("time") is not None:
        _later_delay(found, parse_timestamp(as_text(value["time"], "time as a timestamp")))


def _parse_delayed(found: dict[str, Any], raw: msgspec.Raw) -> None:
    _later_delay(found, parse_timestamp(as_text(_decode_value(raw), "a timestamp")))


def _later_delay(found: dict[str, Any], at: datetime) -> None:
    earlier = found.get("delayed_at")
    found["delayed_at"] = at if earlier is None else max(earlier, at)


def _parse_seen(found: dict[str, Any], raw: msgspec.Raw) -> None:
    # Ours, not the producer's: a malformed one is replaced instead of refused (spec messages.md 7).
    try:
        found["seen_at"] = parse_timestamp(_decode_text(raw))
    except (ValueError, msgspec.MsgspecError):
        found.pop("seen_at", None)


def _parse_results(found: dict[str, Any], raw: msgspec.Raw) -> None:
    entries = decode_results(raw)
    found["attempts"] = len(entries)
    for entry in reversed(entries):
        if "from" in entry:
            origin = _decode_value(entry["from"])
            found["last_egress_ip"] = parse_ip(origin) if isinstance(origin, str) else None
            return


def _parse_tags(found: dict[str, Any], raw: msgspec.Raw) -> None:
    value = _decode_value(raw)
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("expected an array of strings")
    found["tags"] = tuple(words)


def _put(field: str, check: Callable[[object], object]) -> Callable[[dict[str, Any], msgspec.Raw], None]:
    def parse(found: dict[str, Any], raw: msgspec.Raw) -> None:
        found[field] = check(_decode_value(raw))

    return parse


_PARSERS: dict[str, Callable[[dict[str, Any], msgspec.Raw], None]] = {
    "mime": _parse_mime,
    "key": _put("key", as_key),
    "ips": _parse_ips,
    "data": _parse_data,
    "dkim": _parse_dkim,
    "dsn": _parse_dsn,
    "smarthost": _parse_smarthost,
    "keepmime": _put("keep_mime", as_bool),
    "force": _put("force", as_bool),
    "inlinecss": _put("inline_css", as_bool),
    "delayed": _parse_delayed,
    "nextattempt": _parse_nextattempt,
    "maxdelivertime": _put("deadline_at", lambda value: parse_timestamp(as_text(value, "a timestamp"))),
    "maxattempts": _put("max_attempts", lambda value: as_integer(value, 0)),
    "retries": _parse_retries,
    "priority": _put("priority", lambda value: as_integer(value, 0, 255)),
    "security": _parse_security,
    "tags": _parse_tags,
    "seen": _parse_seen,
    "results": _parse_results,
}


def decode_results(raw: msgspec.Raw) -> list[Members]:
    """Entries of an existing ``results`` array; empty when it is not an array of objects and so will be replaced."""
    try:
        return _decode_objects(raw)
    except (msgspec.MsgspecError, RecursionError):
        if not _SURROGATE.search(bytes(raw)):
            return []
    value = json.loads(bytes(raw))
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return []
    return [{name: msgspec.Raw(json.dumps(part).encode()) for name, part in entry.items()} for entry in value]


class _ResultObject(msgspec.Struct, omit_defaults=True, rename={"origin": "from"}):
    """Order of the members is the order of spec results.md 2."""

    state: str
    result: str
    time: str
    origin: str | None = None
    to: str | None = None
    messages: int | None = None
    code: int | None = None
    status: str | None = None
    description: str | None = None


def encode_attempt(attempt: Attempt) -> bytes:
    """The result object of one attempt; members without a value are left out."""
    encoded = _encode(
        _ResultObject(
            attempt.state,
            attempt.result,
            format_timestamp(attempt.at),
            attempt.egress_ip,
            attempt.remote_ip,
            attempt.ordinal,
            attempt.code,
            attempt.status,
            attempt.description,
        )
    )
    if not attempt.extra:
        return encoded
    return encoded[:-1] + b"".join(b"," + _encode(name) + b":" + _encode(value) for name, value in attempt.extra) + b"}"


def append_attempt(members: Mapping[str, msgspec.Raw], attempt: Attempt) -> bytes:
    """The array ``results`` with one object more; what cannot be continued is replaced (spec messages.md 7)."""
    entry = encode_attempt(attempt)
    existing = members.get("results")
    if existing is None or not decode_results(existing):
        return b"[" + entry + b"]"
    return bytes(existing).rstrip()[:-1] + b"," + entry + b"]"


def encode_members(
    members: Mapping[str, msgspec.Raw], changes: Mapping[str, bytes] | None = None, drop: Container[str] = ()
) -> bytes:
    """The object again: untouched values byte for byte, changed ones in place, new ones at the end in given order.

    Args:
        members: As decoded.
        changes: Name → raw JSON value.
        drop: Names to leave out.
    """
    pending = dict(changes) if changes else {}
    parts: list[bytes | msgspec.Raw] = []
    for name, raw in members.items():
        if name in drop:
            continue
        value = pending.pop(name, None)
        parts += (b",", _encode_name(name), raw if value is None else value)
    for name, value in pending.items():
        parts += (b",", _encode_name(name), value)
    if not parts:
        return b"{}"
    parts[0] = b"{"
    parts.append(b"}")
    return b"".join(parts)


_NAMES: dict[str, bytes] = {}
_NAMES_LIMIT = 4096


def _encode_name(name: str) -> bytes:
    encoded = _NAMES.get(name)
    if encoded is None:
        try:
            encoded = _encode(name) + b":"
        except UnicodeEncodeError:
            encoded = json.dumps(name).encode("ascii") + b":"
        if len(_NAMES) < _NAMES_LIMIT and len(encoded) < 256:
            _NAMES[name] = encoded
    return encoded


def encode_invalid_body(body: bytes, attempt: Attempt, *, is_encoded: bool) -> bytes:
    """Result for input that is no JSON object (spec results.md 8).

    Args:
        body: As consumed.
        attempt: The ``amqp/invalid`` one.
        is_encoded: The body is still compressed, or bigger than may be decompressed: shown in base64.
    """
    cut = body[:INVALID_BODY_OCTETS]
    is_truncated = len(cut) < len(body)
    text: str | None = None
    if not is_encoded:
        try:
            body.decode("utf-8")
        except UnicodeDecodeError:
            text = None
        else:
            text = cut.decode("utf-8", "ignore")
    members: list[tuple[str, object]]
    if text is not None:
        members = [("invalid-body", text)]
    else:
        members = [("invalid-body", base64.b64encode(cut).decode("ascii")), ("invalid-encoding", "base64")]
    if is_truncated:
        members.append(("invalid-truncated", True))
    head = b",".join(_encode_name(name) + _encode(value) for name, value in members)
    return b"{" + head + b',"results":[' + encode_attempt(attempt) + b"]}"
