"""What the benchmarks of composing share: cases timed in turn, goals they are held against, and the record of both.

The record's figures are ``cases`` (what, µs of CPU) and ``goals`` (what, measured, limit, unit, and
whether the limit is the ``most`` or the ``least``).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.record import machine, write_record

ROUNDS = 15
ROUND_SECONDS = 0.03
"""Of CPU time for one case in one round; also how long it is tried before anything counts."""


class Cases:
    """Prints and keeps what was measured."""

    def __init__(self) -> None:
        self.cases: list[dict[str, object]] = []
        self.goals: list[dict[str, object]] = []

    def measure(self, given: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        """CPU time per call in µs: medians of rounds in which all cases take turns, so that noise hits them alike."""
        loops = {name: _loops(case) for name, case in given.items()}
        rounds: dict[str, list[float]] = {name: [] for name in given}
        for _ in range(ROUNDS):
            for name, case in given.items():
                rounds[name].append(_time(case, loops[name]))
        medians = {name: statistics.median(times) for name, times in rounds.items()}
        for name, median in medians.items():
            self.cases.append({"what": name, "us": round(median, 2)})
            print(f"{name:56} {median:9.1f} µs")
        return medians

    def goal(self, what: str, measured: float, limit: float, unit: str = "", *, is_least: bool = False) -> None:
        """Hold a figure against its limit."""
        kind = "least" if is_least else "most"
        goal = {"what": what, "measured": round(measured, 3), "limit": limit, "unit": unit, "kind": kind}
        self.goals.append(goal)
        is_met = measured >= limit if is_least else measured <= limit
        print(f"  {what}: {measured:.2f} {unit}, at {kind} {limit:g}: {'met' if is_met else 'MISSED'}")


def _time(case: Callable[[], object], loops: int) -> float:
    begun = time.process_time()
    for _ in range(loops):
        case()
    return (time.process_time() - begun) / loops * 1e6


def _loops(case: Callable[[], object]) -> int:
    """How often a case runs in a round."""
    case()
    loops = 1
    while (taken := _time(case, loops) * loops / 1e6) < ROUND_SECONDS / 4:
        loops *= 4
    return max(int(loops * ROUND_SECONDS / taken), 1)


def run(benchmark: str, description: str | None, measure: Callable[[Cases], None]) -> None:
    """The command line of a benchmark: measure, and with ``--json FILE`` write the record."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record, as benchmarks/results has them")
    given = parser.parse_args()
    where = machine()
    cases = Cases()
    measure(cases)
    if given.json:
        write_record(given.json, benchmark, {"cases": cases.cases, "goals": cases.goals}, where=where)
