"""What the soak calls growth."""

from __future__ import annotations

from benchmarks.soak import rise, steady_slope_per_hour

MINUTES = 22
LIMIT, MOST_RISE = 8.0, 12.0


def samples(leak_per_hour: float, steps: dict[int, float]) -> list[tuple[float, float]]:
    """One each 15 seconds; ``steps`` are MiB by the minute at which they come."""
    found: list[tuple[float, float]] = []
    for second in range(0, MINUTES * 60, 15):
        stepped = sum(by for minute, by in steps.items() if second >= minute * 60)
        found.append((second, 200.0 + leak_per_hour * second / 3600 + stepped))
    return found


def test_a_leak_is_one() -> None:
    assert steady_slope_per_hour(samples(8.1, {})) > LIMIT


def test_a_leak_is_one_beside_a_step_too() -> None:
    assert steady_slope_per_hour(samples(8.1, {7: 10.0})) > LIMIT


def test_a_table_that_was_made_larger_is_none() -> None:
    seen = samples(0.0, {7: 10.4})
    assert steady_slope_per_hour(seen) <= LIMIT
    assert rise([value for _, value in seen]) <= MOST_RISE


def test_a_step_that_comes_again_is_one() -> None:
    assert rise([value for _, value in samples(0.0, {7: 10.0, 14: 10.0})]) > MOST_RISE


def test_too_little_says_nothing() -> None:
    assert steady_slope_per_hour([(0.0, 1.0)]) == 0.0
    assert rise([1.0, 2.0, 3.0]) == 0.0
