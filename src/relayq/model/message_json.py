"""From the JSON object of the outbox to a usable message, or to what is wrong with it (spec messages.md 2).

The object as raw slices is ``members``' business, single properties are ``properties``', result objects are
``result_json``'s. What the rest of the program needs of them is offered here as well, so the codec has one front.
"""

from __future__ import annotations

import msgspec

from relayq.model.members import (
    NULL,
    InvalidBodyError,
    Members,
    change_object,
    decode_members,
    decode_value,
    encode_members,
)
from relayq.model.message import Message, ResultQueues
from relayq.model.properties import PARSERS, Found, parse_queues, parse_recipient, parse_sender
from relayq.model.result_json import append_attempt, encode_attempt, encode_invalid_body
from relayq.model.values import as_bool

__all__ = [
    "InvalidBodyError",
    "InvalidMessageError",
    "Members",
    "ParseRules",
    "append_attempt",
    "change_object",
    "decode_members",
    "encode_attempt",
    "encode_invalid_body",
    "encode_members",
    "parse_message",
]


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


def parse_message(members: Members, rules: ParseRules) -> Message:
    """Check every known property and make the record (spec messages.md 2, steps 2 to 5).

    Args:
        members: From :func:`decode_members`: UTF-8, valid JSON, not nested too deeply.
        rules: Settings.

    Raises:
        InvalidMessageError: The first thing that is wrong.
    """
    found: Found = {"members": members}
    queues: ResultQueues | None = None
    name = "queues"
    try:
        raw = members.get(name)
        if raw is not None and raw != NULL:
            queues, found["dsn_queue"] = parse_queues(raw, rules.merged_queues)
            found["queues"] = queues
        for name, raw in members.items():
            parser = PARSERS.get(name)
            if parser is not None and raw != NULL:
                parser(found, raw)
        name = "recipient"
        found["recipient"] = parse_recipient(members, loose=rules.loose_recipient)
        name = "envelope"
        found["sender"] = parse_sender(members, loose=rules.loose_envelope)
    except ValueError as error:
        raise InvalidMessageError(name, str(error), queues=queues, keep_mime=_peek_keep_mime(members)) from None
    if not found.keys() & _CONTENT:
        raise InvalidMessageError(
            "mime",
            "neither mime nor key is given",
            queues=queues,
            keep_mime=found.get("keep_mime", False),
            is_missing_content=True,
        )
    return Message(**found)


_CONTENT = frozenset(("mime", "large_mime", "mime_object", "key"))


def _peek_keep_mime(members: Members) -> bool:
    """``keepmime`` of an object that is not usable otherwise; anything but a boolean counts as false."""
    raw = members.get("keepmime", NULL)
    try:
        return as_bool(decode_value(raw))
    except ValueError:
        return False
