"""What is around a worker: the others of its installation, and ports that are not what the configuration says."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from relayq.delivery.lane import MarkBoard
from relayq.delivery.scheduler import Inquiry
from relayq.ports import Broker, BrokerListener, Clock, Lender, MessageStore, Network, OutcomeJournal, Resolver


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """What a worker shares with the others of its installation; nothing where it is the only one.

    Attributes:
        number: 1 for the first.
        lender: Where permits to open connections come from.
        marks: Where hosts that are down are made known.
        inquiry: What the others know about messages that were handed out before.
    """

    number: int = 1
    lender: Lender | None = None
    marks: MarkBoard | None = None
    inquiry: Inquiry | None = None


ALONE = Links()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Ports that a demo or a test brings along; ``None`` stands for the real one.

    Attributes:
        resolver: Instead of DNS; whoever brings it closes it.
        network: Instead of sockets.
        broker: Makes the broker for a listener, instead of the one that is configured.
        clock: Instead of the system's.
        rng: Instead of a fresh one.
        store: Instead of the one that is configured, perhaps none.
        journal: Instead of the one that is configured, perhaps none.
    """

    resolver: Resolver | None = None
    network: Network | None = None
    broker: Callable[[BrokerListener], Broker] | None = None
    clock: Clock | None = None
    rng: random.Random | None = None
    store: MessageStore | None = None
    journal: OutcomeJournal | None = None


REAL_WORLD = World()
