"""Known properties of an outbox message, each checked and turned into fields of the record (spec messages.md 4, 7, 8).

Every parser takes the fields found so far and the raw value, which is never ``null``, and raises :class:`ValueError`
with what was expected; the value itself is never quoted, since it may be a secret. Members inside an object that nobody
knows are not even decoded, so nothing in them can make a message unusable.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from relayq.model.address import EmailAddress, InvalidAddressError, parse_address, parse_domain
from relayq.model.dkim_entry import check_dkim_entry
from relayq.model.members import (
    NULL,
    Members,
    decode_octets,
    decode_text,
    decode_value,
    decoded_parts,
    slice_array,
    slice_object,
)
from relayq.model.message import DsnOptions, ResultQueues, Smarthost
from relayq.model.result_json import PastAttempt, decode_origin, decode_results
from relayq.model.values import as_bool, as_integer, as_key, as_queue_name, as_text, as_timestamp, parse_ip

Found = dict[str, Any]
Parser = Callable[[Found, msgspec.Raw], None]

_QUOTE, _BRACE, _BRACKET = b'"{['
_TRUE = msgspec.Raw(b"true")
_EMPTY_OBJECT = msgspec.Raw(b"{}")
_SECURITY_LEVELS = frozenset(("optional", "opportunistic", "required", "verified"))
_DSN_EVENTS = frozenset(("SUCCESS", "FAILURE", "DELAY"))
_DSN_NEVER = ("NEVER",)
_PRINTABLE = re.compile(r"[\x20-\x7e]*")  # RFC 3461 section 4.4: graphic characters and blanks
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_ORCPT_CHARACTERS = 500
_MAX_ENVID_CHARACTERS = 100


_parse_sender = functools.lru_cache(maxsize=1024)(parse_address)
"""Thousands of messages have one sender."""


def parse_recipient(members: Members, *, loose: bool) -> EmailAddress:
    """Forward-path.

    Raises:
        ValueError: There is none, and a message without one is not usable; or it is no address.
    """
    raw = _given(members, "recipient")
    if raw is None:
        raise ValueError("missing")
    return parse_address(decode_text(raw), loose=loose)


def parse_sender(members: Members, *, loose: bool) -> EmailAddress | None:
    """Reverse-path, ``None`` for the null sender and all its spellings (spec messages.md 4.1)."""
    raw = _given(members, "envelope")
    if raw is None:
        return None
    text = decode_text(raw)
    if text.strip(" ") in {"", "<>"}:
        return None
    return _parse_sender(text, loose=loose)


def parse_queues(raw: msgspec.Raw, merged: ResultQueues | None) -> tuple[ResultQueues, str | None]:
    """The message's own result queues and DSN queue (spec messages.md 4.14).

    Args:
        raw: Value of ``queues``.
        merged: Configured queues that a role without a member falls back to; ``None``: it falls back to no queue.
    """
    given = _as_object(raw)
    names: dict[str, str | None] = {}
    for role in ("results", "success", "failure", "retry"):
        if merged is not None and role not in given:
            names[role] = getattr(merged, role)
        else:
            names[role] = _queue_name(given, role)
    return ResultQueues(**names), _queue_name(given, "dsn")


def _queue_name(given: Members, role: str) -> str | None:
    raw = _given(given, role)
    return None if raw is None else as_queue_name(decode_value(raw))


def _given(members: Members, name: str) -> msgspec.Raw | None:
    """Raw value of a member; one that is null counts as absent (spec messages.md 1)."""
    raw = members.get(name)
    return None if raw is None or raw == NULL else raw


def _as_object(raw: msgspec.Raw) -> Members:
    """Members of a JSON object; an empty array counts as an empty one (spec messages.md 3)."""
    first = memoryview(raw)[0]
    if first == _BRACE:
        return slice_object(raw)
    if first == _BRACKET and not slice_array(raw):
        return {}
    raise ValueError("expected an object")


LARGE_OCTETS = 1 << 20
"""A string ``mime`` of more is decoded when it is needed, straight into what goes out."""


def _parse_mime(found: Found, raw: msgspec.Raw) -> None:
    first = memoryview(raw)[0]
    if first == _QUOTE:
        if len(memoryview(raw)) > LARGE_OCTETS:
            for _ in decoded_parts(raw):  # what is wrong with it is told before anything is done
                pass
            found["large_mime"] = raw
            return
        octets = decode_octets(raw)
        if octets:
            found["mime"] = octets
    elif first == _BRACE:
        if slice_object(raw):
            found["mime_object"] = raw
    else:
        raise ValueError("expected a string or an object")


def _parse_ips(found: Found, raw: msgspec.Raw) -> None:
    if memoryview(raw)[0] != _BRACKET:
        return
    ips = (_entry_ip(entry) for entry in slice_array(raw))
    found["ips"] = tuple(dict.fromkeys(ip for ip in ips if ip is not None))


def _entry_ip(raw: msgspec.Raw) -> str | None:
    """Canonical address, ``None`` for an entry that is skipped (spec messages.md 4.6)."""
    try:
        return parse_ip(decode_text(raw))
    except ValueError:
        return None


def _parse_smarthost(found: Found, raw: msgspec.Raw) -> None:
    given = _as_object(raw)
    hostname = _given(given, "hostname") or _given(given, "name")
    if hostname is None:
        raise ValueError("hostname is missing")
    port, username, password = (_given(given, name) for name in ("port", "username", "password"))
    if (username is None) != (password is None):
        raise ValueError("username and password go together")
    found["smarthost"] = Smarthost(
        hostname=_host_name(decode_value(hostname)),
        port=25 if port is None else as_integer(decode_value(port), 1, 65535),
        username=None if username is None else _credential(username),
        password=None if password is None else _credential(password),
    )


def _host_name(value: object) -> str:
    """Host name in A-labels or canonical IP address; one final dot is allowed."""
    text = as_text(value, "a host name or IP address").strip(" ")
    ip = parse_ip(text)
    if ip is not None:
        return ip
    try:
        return parse_domain(text.removesuffix("."))
    except InvalidAddressError as error:
        raise ValueError("expected a host name or IP address") from error


def _credential(raw: msgspec.Raw) -> str:
    text = as_text(decode_value(raw))
    if "\x00" in text:
        raise ValueError("NUL in a user name or password")
    return text


def _parse_dsn(found: Found, raw: msgspec.Raw) -> None:
    given = _as_object(raw)
    notify, ret, orcpt, envid = (_given(given, name) for name in ("notify", "ret", "orcpt", "envid"))
    found["dsn"] = DsnOptions(
        notify=None if notify is None else _parse_notify(decode_value(notify)),
        ret=None if ret is None else _parse_ret(decode_value(ret)),
        orcpt=None if orcpt is None else _parse_orcpt(decode_value(orcpt)),
        envid=None if envid is None else _parse_envid(decode_value(envid)),
        delay_sent=given.get("delay-sent") == _TRUE,
    )


def _parse_notify(value: object) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if isinstance(words, list) and all(isinstance(word, str) and word.isascii() for word in words):
        names = (name.strip().upper() for word in words for name in word.split(","))
        events = tuple(dict.fromkeys(name for name in names if name))
        if events == _DSN_NEVER or (events and _DSN_EVENTS.issuperset(events)):
            return events
    raise ValueError("notify: expected NEVER, or any of SUCCESS, FAILURE, DELAY")


def _parse_ret(value: object) -> str:
    word = as_text(value, "ret FULL or HDRS").upper()
    if word not in {"FULL", "HDRS"}:
        raise ValueError("ret: expected FULL or HDRS")
    return word


def _parse_orcpt(value: object) -> str | None:
    """Empty counts as absent: an empty parameter would be a syntax error in the dialogue."""
    text = as_text(value, "orcpt as a string")
    if len(text) > _MAX_ORCPT_CHARACTERS or _CONTROL.search(text):
        raise ValueError(f"orcpt: expected at most {_MAX_ORCPT_CHARACTERS} characters without control characters")
    return text or None


def _parse_envid(value: object) -> str | None:
    text = as_text(value, "envid as a string")
    if len(text) > _MAX_ENVID_CHARACTERS or not _PRINTABLE.fullmatch(text):
        raise ValueError(f"envid: expected at most {_MAX_ENVID_CHARACTERS} printable ASCII characters")
    return text or None


def _parse_dkim(found: Found, raw: msgspec.Raw) -> None:
    entries = slice_array(raw) if memoryview(raw)[0] == _BRACKET else [raw]
    for entry in entries:
        check_dkim_entry(_as_object(entry))
    if entries:
        found["dkim"] = raw


def _parse_data(found: Found, raw: msgspec.Raw) -> None:
    found["data"] = raw if memoryview(raw)[0] == _BRACE else _empty_object(raw)


def _empty_object(raw: msgspec.Raw) -> msgspec.Raw:
    _as_object(raw)
    return _EMPTY_OBJECT


def _parse_security(found: Found, raw: msgspec.Raw) -> None:
    level = as_text(decode_value(raw))
    if level not in _SECURITY_LEVELS:
        raise ValueError("expected optional, opportunistic, required or verified")
    found["security"] = level


def _parse_retries(found: Found, raw: msgspec.Raw) -> None:
    value = decode_value(raw)
    if not isinstance(value, list) or not value:
        raise ValueError("expected a non-empty array of seconds")
    found["retries"] = tuple(as_integer(entry, 1) for entry in value)


def _parse_nextattempt(found: Found, raw: msgspec.Raw) -> None:
    at = _given(_as_object(raw), "time")
    if at is not None:
        _later_delay(found, as_timestamp(decode_value(at)))


def _parse_delayed(found: Found, raw: msgspec.Raw) -> None:
    _later_delay(found, as_timestamp(decode_value(raw)))


def _later_delay(found: Found, at: datetime) -> None:
    earlier = found.get("delayed_at")
    found["delayed_at"] = at if earlier is None else max(earlier, at)


def _parse_seen(found: Found, raw: msgspec.Raw) -> None:
    # Ours, not the producer's: a malformed one is replaced instead of refused (spec messages.md 7).
    try:
        found["seen_at"] = as_timestamp(decode_value(raw))
    except ValueError:
        return


def _parse_results(found: Found, raw: msgspec.Raw) -> None:
    past = decode_results(raw)
    found["attempts"] = len(past)
    latest: PastAttempt | None = None
    for attempt in past:
        if attempt.may_have_been_accepted:
            found["is_doubtful"] = True
        if attempt.origin != NULL:
            latest = attempt
    if latest is not None:
        found["last_egress_ip"] = parse_ip(decode_origin(latest) or "")


def _parse_doubt(found: Found, raw: msgspec.Raw) -> None:
    # Ours as a rule, and no reason to refuse a mail: whatever is not ``true`` says nothing.
    if bytes(raw) == b"true":
        found["is_doubtful"] = True


def _parse_tags(found: Found, raw: msgspec.Raw) -> None:
    value = decode_value(raw)
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("expected an array of strings")
    found["tags"] = tuple(words)


def _put(field: str, check: Callable[[object], object]) -> Parser:
    def parse(found: Found, raw: msgspec.Raw) -> None:
        found[field] = check(decode_value(raw))

    return parse


PARSERS: dict[str, Parser] = {
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
    "maxdelivertime": _put("deadline_at", as_timestamp),
    "maxattempts": _put("max_attempts", lambda value: as_integer(value, 0)),
    "retries": _parse_retries,
    "priority": _put("priority", lambda value: as_integer(value, 0, 255)),
    "security": _parse_security,
    "tags": _parse_tags,
    "seen": _parse_seen,
    "results": _parse_results,
    "possible-duplicate": _parse_doubt,
}
"""Every known property that can be read by itself; ``queues``, ``recipient`` and ``envelope`` depend on the rules."""
