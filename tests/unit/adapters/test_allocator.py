"""What the allocator does with blocks that are freed."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from relayq.adapters import allocator

KEPT = """
import re
from pathlib import Path
from relayq.adapters.allocator import return_large_blocks

def resident() -> int:
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

assert return_large_blocks()
before = resident()
del (first := [b"x" * (10 << 20)])[:]  # from now on blocks of this size would come from the heap
large, small = [], []
for number in range(20):
    large.append(bytes([number + 1]) * (10 << 20))
    small.append(bytes(100_000))
most = resident()
large.clear()
print(most - before, resident() - before)
"""


def test_large_blocks_go_back_at_once_whatever_small_ones_lie_between() -> None:
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True, timeout=60)
    most, left = map(int, done.stdout.split())
    assert most >= 190
    assert left < 50


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not allocator.return_large_blocks()
