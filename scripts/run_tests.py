#!/usr/bin/env python3
"""Run all tests in a few processes of pytest at the same time: most of them wait for servers, timers and disks.

With arguments, one pytest with those arguments. Without, every folder of tests goes to exactly one of the groups below,
and each group starts the servers it needs once. A few tests that failed beside other groups are run once more, alone;
those that pass only then are named.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"

# The longest first. What is named nowhere is in the last group, so that a new folder is never forgotten.
GROUPS: dict[str, tuple[str, ...]] = {
    "processes": ("acceptance/run", "acceptance/workers", "acceptance/test_cli_*.py", "faults"),
    "brokers": (
        "acceptance/broker", "contract/broker", "contract/queues", "integration/doctor", "integration/embedded",
        "integration/rabbitmq", "integration/test_private_servers.py",
    ),
    "peers": ("acceptance/*", "integration/*", "contract/*"),
    "rest": ("*",),
}  # fmt: skip
TESTS_FAILED = 1
"""Exit code of pytest: all tests were run, and some failed."""
SLOTS = (os.cpu_count() or 1) + 1
"""Groups at the same time: one more than there are cores, because they wait most of the time."""

BUSY = ("processes", "brokers", "peers")
"""Groups whose tests wait for servers and processes, which a machine may starve for seconds."""
MOST_AGAIN = 5
"""More failures than these are no accident."""


class Ended(NamedTuple):
    """What became of a group."""

    name: str
    code: int
    seconds: float
    lines: list[str]

    @property
    def is_green(self) -> bool:
        """Whether nothing failed."""
        return self.code == 0


def tests_in(path: Path) -> Iterator[Path]:
    """Files with tests, at a path or below it."""
    if path.is_dir():
        yield from path.rglob("test_*.py")
    elif path.name.startswith("test_"):
        yield path


def share_out() -> dict[str, list[str]]:
    """Files of each group: the first group that names one has it."""
    taken: set[Path] = set()
    shares: dict[str, list[str]] = {}
    for group, patterns in GROUPS.items():
        found = {file for pattern in patterns for path in TESTS.glob(pattern) for file in tests_in(path)} - taken
        taken |= found
        shares[group] = sorted(str(file.relative_to(ROOT)) for file in found)
    return shares


_printing = threading.Lock()


def run(group: str, files: list[str], *options: str) -> Ended:
    """One pytest; its lines are shown as they come, behind the name of the group."""
    started = time.monotonic()
    cache = f"cache_dir=.cache/pytest/{group}"
    command = [sys.executable, "-m", "pytest", "-q", "--durations=10", "-o", cache, *options, *files]
    lines = []
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", bufsize=1,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            with _printing:
                print(f"{group:9} | {lines[-1]}", flush=True)
    return Ended(group, process.returncode, time.monotonic() - started, lines)


def failures(one: Ended) -> list[str]:
    """What pytest says at the end of the tests that failed, a line each."""
    return [line for line in one.lines if line.startswith(("FAILED ", "ERROR "))]


def run_again(ended: list[Ended], shares: dict[str, list[str]]) -> list[Ended]:
    """Run alone what failed beside other groups, if it is little and nothing else is wrong."""
    groups = [one for one in ended if not one.is_green]
    if not all(one.name in BUSY and one.code == TESTS_FAILED for one in groups):
        return []
    if not 0 < sum(len(failures(one)) for one in groups) <= MOST_AGAIN:
        return []
    print("\nOnce more, alone:", flush=True)
    return [run(one.name, shares[one.name], "--last-failed", "--last-failed-no-failures=none") for one in groups]


def tell(ended: list[Ended]) -> None:
    """Say for each group how it ended, and name once more what failed."""
    print()
    for one in ended:
        last = re.sub(r"\x1b\[[0-9;]*m|=+ ?", "", one.lines[-1]) if one.lines else "no output"
        print(f"{one.name:9} {'ok' if one.is_green else 'FAILED'}, {one.seconds:.0f} s: {last}")
    for one in ended:
        print(*failures(one), sep="\n", end="\n" if failures(one) else "")


def count(ended: list[Ended]) -> Counter[str]:
    """How many tests passed, failed and were skipped; a group that ended without a word counts as a failure."""
    counts = Counter({"passed": 0, "failed": 0, "skipped": 0})
    for one in ended:
        found = re.findall(r"(\d+) (passed|failed|skipped|error)", one.lines[-1]) if one.lines else []
        for number, kind in found:
            counts["failed" if kind == "error" else kind] += int(number)
        if not found and not one.is_green:
            counts["failed"] += 1
    return counts


def judge(ended: list[Ended], shares: dict[str, list[str]]) -> int:
    """Say what became of all tests, after a second look at what failed; return the exit code."""
    tell(ended)
    counts = count(ended)
    is_green = all(one.is_green for one in ended)
    if again := run_again(ended, shares):
        tell(again)
        is_green = all(one.is_green for one in again)
        repeated = count(again)
        counts.update(passed=repeated["passed"], failed=repeated["failed"] - counts["failed"])
        if is_green:
            lines = [line for one in ended for line in failures(one)]
            print("Passed only alone, which is worth a look:", *lines, sep="\n")
    print(", ".join(f"{number} {kind}" for kind, number in counts.items()), flush=True)
    return 0 if is_green else 1


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    if arguments:
        return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, check=False).returncode
    shares = share_out()
    with ThreadPoolExecutor(SLOTS) as slots:
        ended = list(slots.map(lambda item: run(*item), shares.items()))
    return judge(ended, shares)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
