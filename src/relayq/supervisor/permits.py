"""Who may open how many connections: shares and loans of all workers. Pure: decides, and returns what to tell whom.

Half of every limit is divided among the workers once and for all, so that most destinations cost no question at all;
the other half is lent. What one worker borrowed and does not use comes back by itself within seconds; it is recalled
at once when another worker has no permit at all, which can only happen where a limit is smaller than twice the number
of workers.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from relayq.ports import LimitKey


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all workers together.

    Attributes:
        connections: Open at once.
        pair_connections: Of these between two addresses; 0 for no limit.
        workers: Number of worker processes.
    """

    connections: int
    pair_connections: int
    workers: int

    @property
    def share_of_all(self) -> int:
        """Connections each worker may always have."""
        return self._share(self.connections)

    @property
    def share_of_pair(self) -> int:
        """The same between two addresses."""
        return self._share(self.pair_connections)

    def _share(self, total: int) -> int:
        return total if self.workers == 1 else total // (2 * self.workers)


class Granted(msgspec.Struct, frozen=True, tag=True):
    """Permits a worker asked for."""

    key: LimitKey
    count: int


class Recalled(msgspec.Struct, frozen=True, tag=True):
    """Permits a worker shall give back."""

    key: LimitKey
    count: int


Order = tuple[int, Granted | Recalled]
"""What to tell a worker, by its number."""


class _Account:
    """Loans of one limit.

    Attributes:
        lent: By worker; positive.
        asking: Workers that wait for an answer, longest first, with what they asked for.
        recalled: What they were told to give back and have not yet, by worker; positive.
    """

    __slots__ = ("asking", "lent", "recalled")

    def __init__(self) -> None:
        self.lent: dict[int, int] = {}
        self.asking: dict[int, int] = {}
        self.recalled: dict[int, int] = {}


class PermitBook:
    """All loans. An account without loans and questions is forgotten."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._accounts: dict[LimitKey, _Account] = {}

    def __len__(self) -> int:
        """Limits of which something is lent, or asked for."""
        return len(self._accounts)

    @property
    def limits(self) -> Limits:
        """What is in force."""
        return self._limits

    def lent(self, worker: int, key: LimitKey) -> int:
        """Permits a worker has beyond its share."""
        account = self._accounts.get(key)
        return account.lent.get(worker, 0) if account is not None else 0

    def ask(self, worker: int, key: LimitKey, count: int) -> list[Order]:
        """A worker is short of permits."""
        account = self._accounts.setdefault(key, _Account())
        account.asking[worker] = max(count, 1)
        return self._serve(key, account)

    def give_back(self, worker: int, key: LimitKey, count: int) -> list[Order]:
        """A worker has permits to spare."""
        account = self._accounts.get(key)
        if account is None:
            return []
        _subtract(account.lent, worker, count)
        _subtract(account.recalled, worker, count)
        return self._serve(key, account)

    def drop(self, worker: int) -> list[Order]:
        """A worker is gone, and all its connections with it."""
        orders: list[Order] = []
        for key, account in list(self._accounts.items()):
            for part in (account.lent, account.asking, account.recalled):
                part.pop(worker, None)
            orders += self._serve(key, account)
        return orders

    def reconfigure(self, limits: Limits) -> list[Order]:
        """Other limits: what is lent beyond them is recalled."""
        self._limits = limits
        orders: list[Order] = []
        for key, account in list(self._accounts.items()):
            orders += self._recall(account, key, -self._left(key, account))
            orders += self._serve(key, account)
        return orders

    def _left(self, key: LimitKey, account: _Account) -> int:
        """What can be lent; below zero after a limit was lowered."""
        limits = self._limits
        total, share = (
            (limits.connections, limits.share_of_all)
            if key is None
            else (limits.pair_connections, limits.share_of_pair)
        )
        return total - share * limits.workers - sum(account.lent.values())

    def _serve(self, key: LimitKey, account: _Account) -> list[Order]:
        """Answer those who ask: first who has none at all, then who has waited longest."""
        orders: list[Order] = []
        left = self._left(key, account)
        for worker in list(self._by_need(key, account)):
            if left <= 0:
                break
            # Never all to one, while others may ask in the next moment.
            count = min(account.asking.pop(worker), (left + 1) // 2)
            account.lent[worker] = account.lent.get(worker, 0) + count
            left -= count
            orders.append((worker, Granted(key, count)))
        if left <= 0:
            starving = sum(1 for worker in account.asking if self._has_none(key, account, worker))
            orders += self._recall(account, key, starving - sum(account.recalled.values()))
        if not account.lent and not account.asking:
            del self._accounts[key]
        return orders

    def _by_need(self, key: LimitKey, account: _Account) -> Iterator[int]:
        asking = list(account.asking)
        yield from (worker for worker in asking if self._has_none(key, account, worker))
        yield from (worker for worker in asking if not self._has_none(key, account, worker))

    def _has_none(self, key: LimitKey, account: _Account, worker: int) -> bool:
        share = self._limits.share_of_all if key is None else self._limits.share_of_pair
        return share == 0 and not account.lent.get(worker)

    @staticmethod
    def _recall(account: _Account, key: LimitKey, count: int) -> list[Order]:
        """Take ``count`` permits from those who have most."""
        orders: list[Order] = []
        while count > 0:
            spare = {worker: lent - account.recalled.get(worker, 0) for worker, lent in account.lent.items()}
            worker = max(spare, key=lambda each: spare[each], default=None)
            if worker is None or spare[worker] <= 0:
                break
            taken = min(count, max(1, spare[worker] // 2))
            account.recalled[worker] = account.recalled.get(worker, 0) + taken
            orders.append((worker, Recalled(key, taken)))
            count -= taken
        return orders


def _subtract(amounts: dict[int, int], worker: int, count: int) -> None:
    left = amounts.get(worker, 0) - count
    if left > 0:
        amounts[worker] = left
    else:
        amounts.pop(worker, None)
