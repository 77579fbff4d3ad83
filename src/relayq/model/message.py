"""One JSON object from the outbox as a record: one recipient, its content, its history.

The record holds what the engine needs, already checked. What was never understood stays in ``members`` as raw JSON, so
it leaves byte for byte as it came (spec messages.md 1). JSON names are translated in ``properties`` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from relayq.model.address import EmailAddress
from relayq.model.members import decode_octets


class ResultQueues(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the queues an outcome is published to; ``None`` switches that copy off (spec results.md 3)."""

    results: str | None = None
    success: str | None = None
    failure: str | None = None
    retry: str | None = None


class Smarthost(msgspec.Struct, frozen=True, kw_only=True):
    """Server that takes the message instead of the recipient's mail hosts (spec messages.md 4.16)."""

    hostname: str
    port: int = 25
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        """Without the password: this lands in logs."""
        return f"Smarthost({self.hostname!r}, {self.port}, username={self.username!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """The same for consoles, which would ask for every field."""
        return [("hostname", self.hostname), ("port", self.port), ("username", self.username)]


class DsnOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Wishes about delivery status notifications (spec messages.md 4.13); ``None`` means not given."""

    notify: tuple[str, ...] | None = None
    ret: str | None = None
    orcpt: str | None = None
    envid: str | None = None
    delay_sent: bool = False


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A usable message.

    Attributes:
        members: Every top-level member in its original place, values as raw JSON slices.
        sender: Reverse-path; ``None`` is the null sender.
        recipient: Forward-path.
        mime: Complete message as UTF-8 octets, when ``mime`` is a string that is not large; ``None`` otherwise.
        large_mime: Raw JSON of a large string ``mime``, which is not decoded before it is needed; ``None`` otherwise.
        mime_object: Raw JSON of an object ``mime``; ``None`` otherwise.
        key: Where the content lies in the message store; ``None`` when it lies in the JSON.
        ips: Local addresses to send from; ``None`` means the host's default, empty means none is usable.
        queues: The message's own result queues; ``None`` means the configured ones.
        dsn_queue: The message's own DSN queue; ``None`` means the configured one.
        keep_mime: Leave the content in result messages.
        force: Send a best effort when composing fails.
        data: Raw JSON object of template variables; ``None`` switches personalisation off.
        inline_css: Move style sheets into style attributes.
        dkim: Raw JSON array or object of signing keys.
        dsn: Delivery status notification wishes; ``None`` when the member is absent.
        smarthost: The message's own smarthost.
        security: TLS level asked for: ``optional``, ``opportunistic``, ``required`` or ``verified``.
        delayed_at: Not before this instant.
        deadline_at: ``maxdelivertime``.
        max_attempts: ``maxattempts``; 0 means no limit, ``None`` the configured one.
        seen_at: First pick-up at which the message was due.
        attempts: Number of attempts made so far.
        last_egress_ip: Local address of the latest attempt that had a connection.
        retries: Seconds between attempts; ``None`` means the configured schedule.
        priority: AMQP priority; ``None`` means that of the consumed message.
        tags: Labels.
        is_doubtful: It may have been accepted by a server before: it says so, or an earlier attempt got no answer to
            its content.
    """

    members: Mapping[str, msgspec.Raw]
    sender: EmailAddress | None
    recipient: EmailAddress
    mime: bytes | None = None
    large_mime: msgspec.Raw | None = None
    mime_object: msgspec.Raw | None = None
    key: str | None = None
    ips: tuple[str, ...] | None = None
    queues: ResultQueues | None = None
    dsn_queue: str | None = None
    keep_mime: bool = False
    force: bool = False
    data: msgspec.Raw | None = None
    inline_css: bool = False
    dkim: msgspec.Raw | None = None
    dsn: DsnOptions | None = None
    smarthost: Smarthost | None = None
    security: str | None = None
    delayed_at: datetime | None = None
    deadline_at: datetime | None = None
    max_attempts: int | None = None
    seen_at: datetime | None = None
    attempts: int = 0
    last_egress_ip: str | None = None
    retries: tuple[int, ...] | None = None
    priority: int | None = None
    tags: tuple[str, ...] = ()
    is_doubtful: bool = False

    def read_mime(self) -> bytes | None:
        """A string ``mime`` as octets, large or not."""
        return self.mime if self.large_mime is None else decode_octets(self.large_mime)

    def __repr__(self) -> str:
        """What tells it from others, without content and keys: this lands in logs."""
        sender = self.sender.text if self.sender is not None else ""
        return f"Message({sender!r} -> {self.recipient.text!r}, attempts={self.attempts})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """The same for consoles."""
        return [("sender", self.sender), ("recipient", self.recipient), ("attempts", self.attempts)]
