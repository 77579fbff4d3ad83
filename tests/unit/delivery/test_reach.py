"""Where a full window is cut into destinations that are too slow for it, and the others."""

from __future__ import annotations

import pytest

from relayq.delivery.reach import ALONE_REACH, FACTOR, Load, choose_reach
from relayq.delivery.waiting import PARKED_SECONDS

PREFETCH = 1000


def reach_of(*loads: tuple[int, float]) -> float:
    """Of destinations given as messages waiting, and rate; nothing is parked."""
    made = [Load(waiting, waiting, rate) for waiting, rate in loads]
    return choose_reach(made, sum(waiting for waiting, _ in loads), sum(rate for _, rate in loads), PREFETCH)


def test_one_that_stands_still_is_cut_off() -> None:
    assert reach_of((500, 0.0), (400, 4000.0)) == pytest.approx(FACTOR * 0.1)


def test_a_slow_one_is_cut_off() -> None:
    assert reach_of((400, 4.0), (600, 2000.0)) == pytest.approx(FACTOR * 0.3)


def test_those_that_wait_equally_long_are_not() -> None:
    assert reach_of(*[(2, 0.7)] * 400) == PARKED_SECONDS
    assert reach_of((300, 100.0), (200, 60.0), (10, 4.0)) == PARKED_SECONDS


def test_several_slow_ones_are_cut_off_together() -> None:
    loads = [(45, 10.0)] * 20 + [(2, 40.0)]
    assert reach_of(*loads) == pytest.approx(FACTOR * 2 / 40.0)


def test_what_hardly_moves_anything_is_no_measure() -> None:
    """A single message that happened to start at once does not make all others slow."""
    assert reach_of((400, 100.0), (400, 100.0), (0, 1.0)) == PARKED_SECONDS


def test_a_window_of_one_has_a_measure_of_its_own() -> None:
    assert reach_of((990, 100.0)) == ALONE_REACH
    assert reach_of((990, 100.0), (5, 0.0)) == ALONE_REACH


def test_what_is_parked_waits_too() -> None:
    loads = [Load(0, 5000, 10.0), Load(450, 450, 1000.0)]
    assert choose_reach(loads, 450, 1010.0, PREFETCH) == pytest.approx(FACTOR * 0.45)


def test_nothing_waits() -> None:
    assert choose_reach([], 0, 0.0, PREFETCH) == PARKED_SECONDS
    assert choose_reach([Load(0, 1, 0.0)], 0, 0.0, PREFETCH) == PARKED_SECONDS
