"""Copies nobody waits for are published in bursts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relayq.adapters.rabbitmq.gathering import MAX_BYTES, MAX_COUNT, Gathering
from relayq.adapters.rabbitmq.pending import PendingPublish


class Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """Keeps what it was to call later."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        assert seconds == 0.25
        self.timers.append(Timer(callback))
        return self.timers[-1]

    def fire(self) -> None:
        timers, self.timers = self.timers, []
        for timer in timers:
            if not timer.is_cancelled:
                timer.callback()


class Pending:
    def __init__(self, size: int = 10) -> None:
        self.body = bytes(size)


class Yard:
    def __init__(self) -> None:
        self.published: list[PendingPublish] = []
        self.loop = Loop()
        loop: Any = self.loop
        self.gathering = Gathering(self.published.append, loop, 0.25)

    def add(self, count: int = 1, size: int = 10) -> list[Any]:
        pendings: list[Any] = [Pending(size) for _ in range(count)]
        for pending in pendings:
            self.gathering.add(pending)
        return pendings


def test_what_comes_within_a_moment_is_published_together_and_in_order() -> None:
    yard = Yard()
    first = yard.add(3)
    second = yard.add(2)
    assert yard.published == []
    assert len(yard.loop.timers) == 1
    yard.loop.fire()
    assert yard.published == first + second
    yard.loop.fire()
    assert len(yard.published) == 5


def test_a_complete_burst_does_not_wait() -> None:
    yard = Yard()
    yard.add(MAX_COUNT)
    assert len(yard.published) == MAX_COUNT
    yard.add()
    yard.loop.fire()
    assert len(yard.published) == MAX_COUNT + 1


def test_nor_do_many_octets() -> None:
    yard = Yard()
    yard.add(2, MAX_BYTES // 2)
    assert len(yard.published) == 2


def test_what_has_not_left_can_be_taken_back() -> None:
    yard = Yard()
    pendings = yard.add(2)
    assert yard.gathering.take_all() == pendings
    yard.loop.fire()
    assert yard.published == []
    assert yard.gathering.take_all() == []
