"""Which bodies go to the message store, for how long, and what is published in their place.

The tables of spec storage.md 3 to 5 and results.md 7, as pure functions: message and settings in, a plan out.
"""

from __future__ import annotations

import enum
import re
from datetime import datetime

import msgspec

from relayq.model import Message
from relayq.model.message_json import InvalidBodyError, decode_members
from relayq.policy.retry import RetryRules, deadline_of, later

ENDLESS_SECONDS = 30 * 86400.0
"""Life of the body of a message without a deadline, counted again from every retry."""

_GENERATED = re.compile(r"mta-[0-9a-f]{32}")
_BLANKS = b" \t\r\n"
_BOTH = ("mime", "key")


class StoragePolicy(enum.StrEnum):
    """Which way of a message its body is stored and deleted on, as we see it: ``out`` is while sending."""

    ALL = "all"
    OUT = "out"
    IN = "in"
    NONE = "none"


class StorageRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        policy: What is written and deleted; reading always works.
        ttl: Seconds a body lives longer than its message.
        schedule: Tells the deadline of a message.
    """

    policy: StoragePolicy = StoragePolicy.ALL
    ttl: float = 3600.0
    schedule: RetryRules = RetryRules()


def is_generated(key: str | None) -> bool:
    """Whether a key is one of ours: producers' keys stay in results, ours go (spec messages.md 7)."""
    return key is not None and _GENERATED.fullmatch(key) is not None


def has_content(message: Message) -> bool:
    """Whether the content lies in the JSON; a ``key`` beside it is then never looked at."""
    return message.mime is not None or message.large_mime is not None or message.mime_object is not None


def stored_form(message: Message) -> bytes | None:
    """Octets to store; ``None`` when loading them would not give the same content again."""
    if message.mime_object is not None:
        try:
            return msgspec.json.format(bytes(message.mime_object), indent=-1)
        except msgspec.DecodeError:
            return None  # half a surrogate pair: legal JSON that nobody else reads
    mime = message.read_mime()
    # A text that happens to be a JSON object would come back as the source of a mail.
    return None if mime is None or parse_source(mime) is not None else mime


def parse_source(body: bytes) -> msgspec.Raw | None:
    """A stored body as the JSON object it is, ``None`` when it is a finished mail (spec storage.md 1)."""
    bare = body.strip(_BLANKS)
    if not bare.startswith(b"{"):
        return None
    try:
        decode_members(bare)
    except InvalidBodyError:
        return None
    return msgspec.Raw(bare)


def with_body(message: Message, body: bytes) -> Message:
    """The message as if the stored body had come in the JSON."""
    source = parse_source(body)
    if source is not None:
        return msgspec.structs.replace(message, mime_object=source)
    return msgspec.structs.replace(message, mime=body)


# --- writing ----------------------------------------------------------------------------------------------------------


def stores_for_outbox(message: Message, policy: StoragePolicy) -> bool:
    """Whether the copy that goes back towards the outbox leaves its content in the store."""
    # With a key of its own no second one can be named.
    return has_content(message) and message.key is None and policy in {StoragePolicy.ALL, StoragePolicy.OUT}


def stores_for_results(message: Message, policy: StoragePolicy) -> bool:
    """Whether result messages name a key instead of carrying the content."""
    return message.keep_mime and has_content(message) and message.key is None and policy is StoragePolicy.ALL


def members_left_out(message: Message, *, is_stored: bool) -> tuple[str, ...]:
    """Members that results do not have.

    Args:
        message: The message.
        is_stored: Its content was stored for these results.
    """
    if message.keep_mime:
        return ("mime",) if is_stored else ()
    return _BOTH if is_generated(message.key) else ("mime",)


def expiry_of(message: Message, now: datetime, seen_at: datetime | None, rules: StorageRules) -> datetime:
    """Instant after which the store may forget a body (spec storage.md 5).

    Args:
        message: The message.
        now: When it is written.
        seen_at: First due pick-up, ``None`` before.
        rules: Settings.
    """
    if seen_at is None:
        seen_at = now if message.delayed_at is None else max(now, message.delayed_at)
    deadline_at = deadline_of(message, seen_at, rules.schedule)
    if deadline_at is None:
        deadline_at = later(now, ENDLESS_SECONDS)
    return later(deadline_at, rules.ttl)


def expiry_for_results(message: Message, now: datetime, seen_at: datetime | None, rules: StorageRules) -> datetime:
    """The same for a body that results refer to: whoever reads them needs time to."""
    return max(expiry_of(message, now, seen_at, rules), later(now, rules.ttl))


def needs_longer_life(message: Message, seen_at: datetime | None, rules: StorageRules) -> bool:
    """Whether a retry moves the expiry of the stored body: it is ours, and no deadline fixed it."""
    if has_content(message) or not is_generated(message.key) or rules.policy is StoragePolicy.NONE:
        return False
    return deadline_of(message, seen_at, rules.schedule) is None


# --- deleting ---------------------------------------------------------------------------------------------------------


def deletes_body(message: Message, policy: StoragePolicy) -> bool:
    """Whether the entry goes once a final result is published and the message acknowledged."""
    return _is_stored(message, policy) and not message.keep_mime


def keeps_body(message: Message, policy: StoragePolicy) -> bool:
    """Whether the entry has to live on for the readers of a final result."""
    return _is_stored(message, policy) and message.keep_mime


def _is_stored(message: Message, policy: StoragePolicy) -> bool:
    return message.key is not None and not has_content(message) and policy is not StoragePolicy.NONE
