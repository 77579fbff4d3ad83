"""Composing that would hold up the loop, as the engine sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # commands that compose nothing start in half the time
    from relayq.compose.making import Conversion, Order, OrderOutcome


class WorkshopUnavailableError(Exception):
    """Nothing can be made for now: no process can be started. ``str()`` is for the log."""


class Workshop(Protocol):
    """Makes and converts messages with the effort the specification grants, and lets the loop go on meanwhile.

    A conversion goes before orders that wait: a connection is held for it.

    The caller may be cancelled at any time. What an order does to whoever works on it (time, memory, the end of a
    process) is a ``Failed`` for that order and nothing to anybody else.
    """

    async def make(self, order: Order | Conversion) -> OrderOutcome:
        """What `compose.making.Maker.make` returns.

        Raises:
            WorkshopUnavailableError: Not for now.
        """
        ...

    def close(self) -> None:
        """Give up what is being made."""
        ...
