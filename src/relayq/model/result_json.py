"""Result objects: reading those a message brings along, writing the one of an attempt (spec results.md 2 and 8)."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import msgspec

from relayq.model.attempt import Attempt
from relayq.model.members import NULL, decode_text, encode_name, without_lone_surrogates
from relayq.model.timestamp import format_timestamp

INVALID_BODY_OCTETS = 65_536
"""Octets of an unusable body that a result repeats (spec results.md 8)."""

_MESSAGE = msgspec.Raw(b'"message"')
_NO_ANSWER = frozenset((b'"timeout"', b'"lost"', b'"invalid"'))

_encode = msgspec.json.Encoder().encode


class PastAttempt(msgspec.Struct, frozen=True, rename={"origin": "from"}):
    """What still matters of an earlier attempt, as raw JSON; ``null`` for what is not there.

    Attributes:
        origin: The local address.
        state: Where it ended.
        result: How.
    """

    origin: msgspec.Raw = NULL
    state: msgspec.Raw = NULL
    result: msgspec.Raw = NULL

    @property
    def may_have_been_accepted(self) -> bool:
        """The content was sent, and no answer came that could be understood."""
        return self.state == _MESSAGE and bytes(self.result) in _NO_ANSWER


_decode_past = msgspec.json.Decoder(list[PastAttempt]).decode


def decode_results(raw: msgspec.Raw) -> list[PastAttempt]:
    """Entries of an existing ``results``; empty when it is no array of objects, and so cannot be continued."""
    try:
        return _decode_past(raw)
    except msgspec.ValidationError:
        return []
    except msgspec.DecodeError:
        pass
    try:
        return _decode_past(without_lone_surrogates(raw))
    except msgspec.ValidationError:
        return []


def decode_origin(past: PastAttempt) -> str | None:
    """Local address of an earlier attempt as it stands there, ``None`` when that is no text."""
    try:
        return decode_text(past.origin)
    except ValueError:
        return None


class _ResultObject(
    msgspec.Struct, omit_defaults=True, rename={"origin": "from", "possible_duplicate": "possible-duplicate"}
):
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
    possible_duplicate: bool = False


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
            attempt.possible_duplicate,
        )
    )
    if not attempt.extra:
        return encoded
    return encoded[:-1] + b"".join(b"," + _encode(name) + b":" + _encode(value) for name, value in attempt.extra) + b"}"


def attempts_of(members: Mapping[str, msgspec.Raw]) -> int:
    """How many entries of ``results`` can be continued."""
    return len(decode_results(members["results"])) if "results" in members else 0


def append_attempt(members: Mapping[str, msgspec.Raw], attempt: Attempt, earlier: int | None = None) -> bytes:
    """The array ``results`` with one object more; what cannot be continued is replaced (spec messages.md 7).

    ``earlier`` is what :func:`attempts_of` says of these members, for who knows it already.
    """
    entry = encode_attempt(attempt)
    existing = members.get("results")
    if existing is None or not (attempts_of(members) if earlier is None else earlier):
        return b"[" + entry + b"]"
    return bytes(existing)[:-1] + b"," + entry + b"]"


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
    head = b",".join(encode_name(name) + _encode(value) for name, value in members)
    return b"{" + head + b',"results":[' + encode_attempt(attempt) + b"]}"
