"""Names of queues that results may go to: never those whose messages would be mailed (spec amqp.md 9)."""

from __future__ import annotations

from relayq.ports import Observer

MAX_WARNED_NAMES = 1000
MAX_KNOWN_NAMES = 1000
"""Combinations of queues; messages may name their own."""


class ResultQueueNames:
    """Tells names apart, and warns of those that are not used."""

    def __init__(self, outbox: str, observer: Observer) -> None:
        self._observer = observer
        self._warned: set[str] = set()
        self.reconfigure(outbox)

    def reconfigure(self, outbox: str) -> None:
        """Another outbox."""
        self._outbox = outbox
        self._reserved = ("amq.", f"{outbox}.delay.", f"{outbox}.park.")
        self._poison = f"{outbox}.poison"
        self._known_usable: dict[tuple[str | None, ...], list[str]] = {}

    def usable(self, names: tuple[str | None, ...]) -> list[str]:
        """Queues to publish to, each once; a result on the outbox or in a delay queue would be mailed again."""
        usable = self._known_usable.get(names)
        if usable is None:
            if len(self._known_usable) >= MAX_KNOWN_NAMES:
                self._known_usable.clear()
            usable = self._known_usable[names] = self._choose(names)
        return usable

    def _choose(self, names: tuple[str | None, ...]) -> list[str]:
        usable: list[str] = []
        for name in names:
            if not name or name in usable:
                continue
            if name == self._outbox or self.is_reserved(name):
                self.warn_of(name)
                continue
            usable.append(name)
        return usable

    def is_reserved(self, name: str) -> bool:
        """A queue that is the broker's or our own besides the outbox."""
        return name.startswith(self._reserved) or name == self._poison

    def warn_of(self, name: str) -> None:
        """Once per name: every message of a producer may name it."""
        if name not in self._warned and len(self._warned) < MAX_WARNED_NAMES:
            self._warned.add(name)
            self._observer.warn("publisher", f"result queue {name!r} is reserved: nothing is published to it")
