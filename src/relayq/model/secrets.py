"""Private keys and passwords in a message, and the message without them (spec messages.md 4.12, `result-secrets`)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from relayq.model.members import NULL, Members, encode_members, slice_array, slice_object

_BRACE, _BRACKET = b"{["


def strip_secrets(members: Mapping[str, msgspec.Raw]) -> dict[str, bytes]:
    """Changed members of a message that is to be shown: ``dkim`` without keys, ``smarthost`` without its password.

    The same for ``dkim`` in a described mail. What is of a wrong type there becomes null, because nobody can tell where
    its secret stands; members without secrets are not among the changes.
    """
    found: dict[str, bytes] = {}
    for name, strip in _STRIPPERS.items():
        raw = members.get(name)
        if raw is not None and (stripped := strip(raw)) is not None:
            found[name] = stripped
    return found


def _without_keys(raw: msgspec.Raw) -> bytes | None:
    """Value of ``dkim``, an object or an array of them; ``None``, here and below, if it is to stay as it is."""
    if memoryview(raw)[0] != _BRACKET:
        return _without(raw, "key")
    entries = slice_array(raw)
    stripped = [_without(entry, "key") for entry in entries]
    if not any(stripped):
        return None
    return b"[" + b",".join(new or bytes(old) for new, old in zip(stripped, entries, strict=True)) + b"]"


def _without_password(raw: msgspec.Raw) -> bytes | None:
    return _without(raw, "password")


def _without(raw: msgspec.Raw, name: str) -> bytes | None:
    if memoryview(raw)[0] != _BRACE:
        return None if raw == NULL else b"null"
    given: Members = slice_object(raw)
    return encode_members(given, drop=(name,)) if name in given else None


def _without_keys_inside(mime: msgspec.Raw) -> bytes | None:
    """Names in a described mail are read without regard to case, hyphens and underscores (spec responsive.md 2)."""
    if memoryview(mime)[0] != _BRACE:
        return None
    given = slice_object(mime)
    named = {name: raw for name, raw in given.items() if name.replace("-", "").replace("_", "").lower() == "dkim"}
    changes = {name: stripped for name, raw in named.items() if (stripped := _without_keys(raw)) is not None}
    return encode_members(given, changes) if changes else None


_STRIPPERS = {"dkim": _without_keys, "smarthost": _without_password, "mime": _without_keys_inside}
