"""Permits to open connections, when several processes share the limits of one installation (spec operations.md 20).

A process has a share of each limit of its own, for which nobody is asked; what it needs beyond that it borrows in
batches and gives back once it is idle.
"""

from __future__ import annotations

from typing import Protocol

PairKey = tuple[str | None, str]
"""Local address, ``None`` lets the host choose, and remote address."""

LimitKey = PairKey | None
"""What is limited: connections between two addresses, or all of them (``None``)."""


class Lender(Protocol):
    """Where permits beyond the own share come from; answers come later, by the methods of :class:`Borrower`."""

    @property
    def share_of_all(self) -> int:
        """Connections this process may always have."""
        ...

    @property
    def share_of_pair(self) -> int:
        """Connections between two addresses this process may always have; without meaning if pairs have no limit."""
        ...

    def ask(self, key: LimitKey, count: int) -> None:
        """Ask for more. Not again before something was granted: that is at least one, some time.

        Who has none at all is served first, and others have to give way.
        """
        ...

    def give_back(self, key: LimitKey, count: int) -> None:
        """Return permits that were granted."""
        ...

    def forget(self, key: PairKey) -> None:
        """Return whatever was granted for a pair, now or later, until it asks again."""
        ...


class Borrower(Protocol):
    """What a lender tells the process."""

    def granted(self, key: LimitKey, count: int) -> None:
        """Permits it asked for, perhaps fewer, perhaps no longer wanted."""
        ...

    def recalled(self, key: LimitKey, count: int) -> None:
        """Others have none at all: give back so many of those granted, idle ones at once, others when they are free."""
        ...
