#!/usr/bin/env python3
"""Run all tests in a few processes of pytest at the same time: most of them wait for servers, timers and disks.

With arguments, one pytest with those arguments. Without, every folder of tests goes to exactly one of the groups below,
and each group starts the servers it needs once.
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
SLOTS = (os.cpu_count() or 1) + 1
"""Groups at the same time: one more than there are cores, because they wait most of the time."""


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


def run(group: str, files: list[str]) -> Ended:
    """One pytest; its lines are shown as they come, behind the name of the group."""
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "--durations=10", "-o", f"cache_dir=.cache/pytest/{group}", *files]
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


def tell(ended: list[Ended]) -> None:
    """Say for each group how it ended, and name once more what failed."""
    print()
    for one in ended:
        last = re.sub(r"\x1b\[[0-9;]*m|=+ ?", "", one.lines[-1]) if one.lines else "no output"
        print(f"{one.name:9} {'ok' if one.is_green else 'FAILED'}, {one.seconds:.0f} s: {last}")
    for one in ended:
        for line in one.lines:
            if line.startswith(("FAILED ", "ERROR ")):
                print(line)
    print(count(ended))


def count(ended: list[Ended]) -> str:
    """How many tests there were in all groups; a group that ended without a word counts as a failure."""
    counts = Counter({"passed": 0, "failed": 0, "skipped": 0})
    for one in ended:
        found = re.findall(r"(\d+) (passed|failed|skipped|error)", one.lines[-1]) if one.lines else []
        for number, kind in found:
            counts["failed" if kind == "error" else kind] += int(number)
        if not found and not one.is_green:
            counts["failed"] += 1
    return ", ".join(f"{number} {kind}" for kind, number in counts.items())


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    if arguments:
        return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, check=False).returncode
    with ThreadPoolExecutor(SLOTS) as slots:
        ended = list(slots.map(lambda item: run(*item), share_out().items()))
    tell(ended)
    return 0 if all(one.is_green for one in ended) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
