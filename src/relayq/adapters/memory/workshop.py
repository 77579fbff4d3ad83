"""``ports.Workshop`` that works on the spot, and so holds up the loop."""

from __future__ import annotations

from relayq.compose.making import Conversion, Maker, Order, OrderOutcome


class LocalWorkshop:
    """For tests, and for commands that have nothing else to do.

    Attributes:
        orders: What was made here, oldest first.
    """

    def __init__(self, maker: Maker) -> None:
        self.orders: list[Order | Conversion] = []
        self._maker = maker

    async def make(self, order: Order | Conversion) -> OrderOutcome:
        """Make it now."""
        self.orders.append(order)
        return self._maker.make(order)

    def close(self) -> None:
        """Nothing is left open."""
