"""Shares, loans and recalls: whatever happens, no more is given out than there is, and nobody starves."""

from __future__ import annotations

import random

import pytest

from relayq.ports import LimitKey
from relayq.supervisor.permits import Granted, Limits, Order, PermitBook, Recalled

PAIR = ("192.0.2.1", "198.51.100.1")


def limits(connections: int = 100, pair: int = 20, workers: int = 2) -> Limits:
    return Limits(connections=connections, pair_connections=pair, workers=workers)


@pytest.mark.parametrize(
    ("total", "workers", "share"), [(20, 1, 20), (20, 2, 5), (20, 4, 2), (7, 4, 0), (1, 2, 0), (0, 3, 0)]
)
def test_half_of_a_limit_is_divided_among_the_workers(total: int, workers: int, share: int) -> None:
    assert limits(pair=total, workers=workers).share_of_pair == share


def test_what_is_not_a_share_is_lent_but_never_all_of_it_to_one() -> None:
    book = PermitBook(limits())
    assert book.ask(1, PAIR, 16) == [(1, Granted(PAIR, 5))]
    assert book.ask(1, PAIR, 16) == [(1, Granted(PAIR, 3))]
    assert book.ask(2, PAIR, 1) == [(2, Granted(PAIR, 1))]


def test_who_asks_in_vain_is_served_when_something_comes_back() -> None:
    book = PermitBook(limits(pair=4))
    assert book.ask(1, PAIR, 9) == [(1, Granted(PAIR, 1))]
    assert book.ask(1, PAIR, 9) == [(1, Granted(PAIR, 1))]
    assert book.ask(2, PAIR, 9) == []  # it has its share: nobody has to give way
    assert book.give_back(1, PAIR, 1) == [(2, Granted(PAIR, 1))]


def test_who_has_nothing_at_all_gets_something_from_who_has_most() -> None:
    book = PermitBook(limits(pair=3, workers=3))
    book.ask(1, PAIR, 2)
    book.ask(2, PAIR, 1)
    assert (book.lent(1, PAIR), book.lent(2, PAIR)) == (2, 1)
    assert book.ask(3, PAIR, 1) == [(1, Recalled(PAIR, 1))]
    assert book.ask(3, PAIR, 1) == []  # once is enough
    assert book.give_back(1, PAIR, 1) == [(3, Granted(PAIR, 1))]


def test_what_a_dead_worker_had_is_free() -> None:
    book = PermitBook(limits(pair=1))
    book.ask(1, PAIR, 1)
    assert book.ask(2, PAIR, 1) == [(1, Recalled(PAIR, 1))]
    assert book.drop(1) == [(2, Granted(PAIR, 1))]
    assert book.drop(2) == []
    assert len(book) == 0


def test_a_lower_limit_recalls_what_is_lent_beyond_it() -> None:
    book = PermitBook(limits(pair=20))
    book.ask(1, PAIR, 8)
    book.ask(1, PAIR, 8)
    assert book.lent(1, PAIR) == 8
    orders = book.reconfigure(limits(pair=8))
    assert orders == [(1, Recalled(PAIR, 4))]
    assert book.reconfigure(limits(pair=40)) == []


def test_an_account_nobody_uses_is_forgotten() -> None:
    book = PermitBook(limits())
    book.ask(1, PAIR, 3)
    book.give_back(1, PAIR, 3)
    book.give_back(1, PAIR, 3)  # late, for an account that is gone
    assert len(book) == 0


class Simulated:
    """What workers believe they may use, kept by following orders in their order."""

    def __init__(self, given: Limits) -> None:
        self.book = PermitBook(given)
        self.held: dict[tuple[int, LimitKey], int] = {}
        self.recalled: dict[tuple[int, LimitKey], int] = {}
        self.asking: set[tuple[int, LimitKey]] = set()

    def follow(self, orders: list[Order]) -> None:
        for worker, order in orders:
            at = (worker, order.key)
            if isinstance(order, Granted):
                assert order.count > 0
                assert at in self.asking
                self.asking.discard(at)
                self.held[at] = self.held.get(at, 0) + order.count
            else:
                self.recalled[at] = self.recalled.get(at, 0) + order.count
                assert self.recalled[at] <= self.held[at], "more is recalled than was lent"

    def give_back(self, at: tuple[int, LimitKey], count: int) -> None:
        self.held[at] -= count
        self.recalled[at] = max(0, self.recalled.get(at, 0) - count)
        self.follow(self.book.give_back(*at, count))


@pytest.mark.parametrize("seed", range(30))
def test_no_more_is_given_out_than_there_is_and_nobody_starves(seed: int) -> None:
    rng = random.Random(seed)
    given = limits(connections=rng.randrange(1, 30), pair=rng.randrange(1, 12), workers=rng.randrange(2, 5))
    world = Simulated(given)
    keys: list[LimitKey] = [None, PAIR, (None, "198.51.100.2")]
    workers = range(1, given.workers + 1)
    for _ in range(400):
        at = (rng.choice(workers), rng.choice(keys))
        happening = rng.random()
        if happening < 0.5 and at not in world.asking:
            world.asking.add(at)
            world.follow(world.book.ask(*at, rng.randrange(1, 20)))
        elif happening < 0.9 and world.held.get(at):
            world.give_back(at, rng.randrange(1, world.held[at] + 1))
        elif happening > 0.98:
            for table in (world.held, world.recalled):
                for place in [place for place in table if place[0] == at[0]]:
                    del table[place]
            world.asking = {place for place in world.asking if place[0] != at[0]}
            world.follow(world.book.drop(at[0]))
        for key in keys:
            total = given.connections if key is None else given.pair_connections
            share = given.share_of_all if key is None else given.share_of_pair
            lent = sum(count for place, count in world.held.items() if place[1] == key)
            assert lent + share * given.workers <= total
            left = total - share * given.workers - lent
            waiting = [place for place in world.asking if place[1] == key]
            assert not (waiting and left), "something is left, and somebody waits for it"
            starving = [place for place in waiting if not share and not world.held.get(place)]
            coming = sum(count for place, count in world.recalled.items() if place[1] == key)
            assert coming >= min(len(starving), lent), "nobody gives way to a worker that has nothing"
