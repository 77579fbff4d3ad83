"""Which queues a configuration knows, by the words people use for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relayq.cli.endings import CommandFailed
from relayq.config import EmbeddedAddress, ExitCode

if TYPE_CHECKING:
    from relayq.config import Settings
    from relayq.ports import QueueState

OUTBOX: Final = "outbox"
DELAY: Final = "delay"
PARKING: Final = "parking"
POISON: Final = "poison"
_CONFIGURED: Final = ("results", "success", "failure", "retry", "dsn", "invalid", "inbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where messages lie.

    Attributes:
        word: What it is for.
        name: Name of the queue.
        is_delayed: Meant are those messages of the queue that wait in it for their time.
    """

    word: str
    name: str
    is_delayed: bool = False


def places_of(settings: Settings) -> tuple[Place, ...]:
    """Every place whose name is known beforehand, in the order of a message's life; a queue may occur repeatedly."""
    queues = settings.queues
    places = [Place(word=OUTBOX, name=queues.outbox), *_delays(settings)]
    for word in _CONFIGURED:
        name = getattr(queues, word)
        if name:
            places.append(Place(word=word, name=name))
    if not isinstance(settings.broker.address, EmbeddedAddress):
        places.append(Place(word=POISON, name=f"{queues.outbox}.poison"))
    return tuple(places)


def _delays(settings: Settings) -> tuple[Place, ...]:
    outbox = settings.queues.outbox
    if isinstance(settings.broker.address, EmbeddedAddress):
        return (Place(word=DELAY, name=outbox, is_delayed=True),)
    from relayq.adapters.rabbitmq.topology import delay_ladder, delay_queue

    intervals = tuple(int(seconds) for seconds in settings.delivery.retry_interval)
    return tuple(Place(word=DELAY, name=delay_queue(outbox, seconds)) for seconds in delay_ladder(intervals))


def roles_of(settings: Settings, name: str) -> tuple[str, ...]:
    """What a queue is for, in words; empty for a queue the configuration does not know."""
    if name.startswith(f"{settings.queues.outbox}.park."):
        return (PARKING,)
    return tuple(place.word for place in places_of(settings) if place.name == name and not place.is_delayed)


def find_places(settings: Settings, text: str, states: Sequence[QueueState]) -> tuple[Place, ...]:
    """What somebody means by a word or by the name of a queue; not empty.

    Args:
        settings: The configuration.
        text: As somebody wrote it; words go before names.
        states: What is known to be there, for parking queues, which no configuration names.

    Raises:
        CommandFailed: Parking queues are meant, and this broker does not list any.
    """
    found = tuple(place for place in places_of(settings) if place.word == text)
    if found or text != PARKING:
        return found or (Place(word="", name=text),)
    parked = tuple(
        Place(word=PARKING, name=state.name) for state in states if PARKING in roles_of(settings, state.name)
    )
    if not parked:
        raise CommandFailed(
            ExitCode.USAGE,
            "no parking queue is to be seen; RabbitMQ lists them only in `rabbitmqctl list_queues`: give the full name",
        )
    return parked
