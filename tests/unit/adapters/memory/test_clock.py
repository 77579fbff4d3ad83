from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.memory import ManualClock
from relayq.ports import Clock


def test_both_clocks_advance_together() -> None:
    clock = ManualClock()
    now, monotonic = clock.now(), clock.monotonic()
    clock.advance(2.5)
    assert clock.now() - now == timedelta(seconds=2.5)
    assert clock.monotonic() - monotonic == 2.5


def test_the_wall_clock_can_jump_alone() -> None:
    clock = ManualClock()
    monotonic = clock.monotonic()
    clock.set_now(datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.now() == datetime(2020, 1, 1, tzinfo=UTC)
    assert clock.monotonic() == monotonic


def test_subscribers_hear_of_changes_until_they_leave() -> None:
    clock = ManualClock()
    heard: list[float] = []
    leave = clock.subscribe(lambda: heard.append(clock.monotonic()))
    clock.advance(1)
    leave()
    clock.advance(1)
    assert heard == [1001.0]


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="-1"):
        ManualClock().advance(-1)


async def test_system_clock_is_aware_and_counts_as_the_event_loop() -> None:
    clock: Clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert abs(clock.monotonic() - asyncio.get_running_loop().time()) < 60
