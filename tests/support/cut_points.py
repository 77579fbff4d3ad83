"""Every step of a message's life at which relayq or the broker can die, and what becomes of the message then.

One table, read by the test that kills real processes there and by the documentation of crashes.
"""

from __future__ import annotations

import dataclasses
import enum

RABBITMQ, EMBEDDED = "RabbitMQ", "embedded"
BOTH = (RABBITMQ, EMBEDDED)


class Victim(enum.Enum):
    """Who dies."""

    RELAYQ = "relayq"
    BROKER = "RabbitMQ"


class Story(enum.Enum):
    """The message, and how its server behaves; the value is what the documentation says."""

    PLAIN = "accepted"
    STORED = "content in the store, accepted"
    REFUSED = "greylisted, then accepted"
    DEFERRED = "refused for now after its content, then accepted"
    MOVED = "greylisted, its content moves to the store, then accepted"
    WAITING = "not due yet, then accepted"
    REPORTED = "refused for good, reported to its sender through the outbox"
    HELD = "accepted; `rabbitmq-held` is set"


OUTSTANDING = "reply outstanding"
"""Not a place in the code: the server has the content and has not answered yet."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CutPoint:
    """One row.

    Attributes:
        victim: Who dies.
        story: What happens to the message without that.
        place: Where, a name of ``dying_worker.PLACES`` or ``OUTSTANDING``.
        when: The same as the documentation says it.
        brokers: With which brokers.
        sent: How often a server gets the content, or that of the report, and does not refuse it.
        is_marked: The result says ``possible-duplicate``.
        results: How many equal final results are published: never none, more only where nobody can know.
        is_held: The message ends in the queue for held ones.
    """

    victim: Victim
    story: Story
    place: str
    when: str
    brokers: tuple[str, ...] = BOTH
    sent: int = 1
    is_marked: bool = False
    results: tuple[int, ...] = (1,)
    is_held: bool = False

    @property
    def outcome(self) -> str:
        """What the documentation says about the mail."""
        if self.is_held:
            return "sent once, then held"
        if self.story is Story.REPORTED:
            return "reported once"
        times = {1: "sent once", 2: "**sent twice**"}[self.sent]
        return f"{times}, marked" if self.is_marked else times

    @property
    def published(self) -> str:
        """What the documentation says about the result."""
        if self.is_held:
            return "none yet"
        return "once" if self.results == (1,) else "once, or twice the same"


def _relayq(story: Story, place: str, when: str, **more: object) -> CutPoint:
    return CutPoint(victim=Victim.RELAYQ, story=story, place=place, when=when, **more)  # type: ignore[arg-type]


def _broker(story: Story, place: str, when: str, **more: object) -> CutPoint:
    return CutPoint(
        victim=Victim.BROKER, story=story, place=place, when=when, brokers=(RABBITMQ,), **more  # type: ignore[arg-type]
    )  # fmt: skip


_AMQP = {"brokers": (RABBITMQ,)}
_FILE = {"brokers": (EMBEDDED,)}
_DOUBTFUL = {"sent": 2, "is_marked": True}
_AGAIN = {"results": (1, 2)}

CUT_POINTS = (
    _relayq(Story.PLAIN, "picked up", "after it was handed out, before anything"),
    _relayq(Story.PLAIN, "envelope sent", "after `MAIL FROM`"),
    _relayq(Story.STORED, "content loaded", "after its content was loaded from the store"),
    _relayq(Story.PLAIN, "content due", "when the server waits for the content"),
    _relayq(Story.PLAIN, "content noted", "after the note, before the content left", is_marked=True),
    _relayq(Story.PLAIN, OUTSTANDING, "after the final dot, before the server's reply", **_DOUBTFUL),
    _relayq(Story.HELD, OUTSTANDING, "after the final dot, before the server's reply", is_held=True, results=(0,)),
    _relayq(Story.PLAIN, "reply read", "after the reply arrived, before it was noted", **_DOUBTFUL),
    _relayq(Story.PLAIN, "outcome noted", "after the reply was noted, before the results are published"),
    _relayq(Story.PLAIN, "published", "after the results are published, before the confirm", **_AMQP, **_AGAIN),
    _relayq(Story.PLAIN, "confirmed", "after the confirm, before the acknowledgement", **_AMQP, **_AGAIN),
    _relayq(Story.PLAIN, "uncommitted", "right before results and acknowledgement are committed", **_FILE),
    _relayq(Story.PLAIN, "committed", "right after they are committed", **_FILE),
    _relayq(Story.STORED, "acknowledged", "after the acknowledgement, before its content leaves the store", **_AGAIN),
    _relayq(Story.REFUSED, "outcome noted", "after the refusal was noted, before its copy is published"),
    _relayq(Story.REFUSED, "published", "after the delayed copy is published, before the confirm", **_AMQP),
    _relayq(Story.REFUSED, "confirmed", "after the confirm, before the acknowledgement", **_AMQP),
    _relayq(Story.REFUSED, "uncommitted", "right before copy and acknowledgement are committed", **_FILE),
    _relayq(Story.REFUSED, "committed", "right after they are committed", **_FILE),
    _relayq(Story.DEFERRED, "outcome noted", "after the refusal was noted, before its copy is published"),
    _relayq(Story.DEFERRED, "confirmed", "after the confirm of its copy, before the acknowledgement", **_AMQP),
    _relayq(Story.MOVED, "content stored", "after its content was stored, before the copy is published"),
    _relayq(Story.MOVED, "confirmed", "after the confirm of its copy, before the acknowledgement", **_AMQP),
    _relayq(Story.REPORTED, "outcome noted", "after the refusal was noted, before results and report are published"),
    _relayq(
        Story.REPORTED, "published", "after results and report are published, before the confirm", **_AMQP, **_AGAIN
    ),
    _relayq(Story.REPORTED, "confirmed", "after the confirm, before the acknowledgement", **_AMQP, **_AGAIN),
    _relayq(Story.WAITING, "published", "after its copy is published, before the confirm", **_AMQP),
    _relayq(Story.WAITING, "confirmed", "after the confirm, before the acknowledgement", **_AMQP),
    _relayq(Story.WAITING, "uncommitted", "right before copy and acknowledgement are committed", **_FILE),
    _broker(Story.PLAIN, "picked up", "after it was handed out, before anything"),
    _broker(Story.STORED, "content loaded", "after its content was loaded from the store"),
    _broker(Story.PLAIN, "content due", "when the server waits for the content"),
    _broker(Story.PLAIN, OUTSTANDING, "after the final dot, before the server's reply"),
    _broker(Story.PLAIN, "outcome noted", "after the reply was noted, before the results are published"),
    _broker(Story.PLAIN, "published", "after the results are published, before the confirm", **_AGAIN),
    _broker(Story.PLAIN, "confirmed", "after the confirm, before the acknowledgement"),
    _broker(Story.STORED, "acknowledged", "after the acknowledgement, before its content leaves the store"),
    _broker(Story.REFUSED, "outcome noted", "after the refusal was noted, before its copy is published"),
    _broker(Story.REFUSED, "published", "after the delayed copy is published, before the confirm"),
    _broker(Story.REFUSED, "confirmed", "after the confirm, before the acknowledgement"),
    _broker(Story.MOVED, "content stored", "after its content was stored, before the copy is published"),
    _broker(Story.REPORTED, "published", "after results and report are published, before the confirm", **_AGAIN),
    _broker(Story.WAITING, "published", "after its copy is published, before the confirm"),
)
