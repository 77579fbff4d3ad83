"""Cases that take turns, so that whatever else the machine does hits all of them alike, and their medians."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from benchmarks.support import median

Figures = dict[str, float]


def show(figures: Mapping[str, float], form: str) -> str:
    """Name and value of each figure on one line; ``form`` is the format of a value."""
    return "  ".join(f"{name} {value:{form}}" for name, value in figures.items())


async def run_in_turn(
    run: Callable[[int], Awaitable[Figures]], numbers: Sequence[int], runs: int, form: str
) -> dict[int, list[Figures]]:
    """Let ``run`` measure each number of workers ``runs`` times, in turn; each run is printed when it is over."""
    results: dict[int, list[Figures]] = {workers: [] for workers in numbers}
    for number in range(runs):
        for workers in numbers:
            figures = await run(workers)
            results[workers].append(figures)
            print(f"run {number + 1}, {workers} worker(s)  {show(figures, form)}", flush=True)
    return results


def medians_of(runs: Sequence[Figures]) -> Figures:
    """The median of each figure."""
    return {name: median([run[name] for run in runs]) for name in runs[0]}
