"""What a benchmark started does not outlive it, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PATIENCE = 30.0
ROOT = Path(__file__).parents[2]
BENCHMARK = """
import tempfile, time
from benchmarks.support import Child, end_in_order

end_in_order()
with tempfile.TemporaryDirectory() as folder:
    child = Child(["sleep", "600"])
    try:
        print(child.pid, folder, flush=True)
        time.sleep(600)
    finally:
        child.terminate()
        child.wait()
"""


def is_running(pid: int) -> bool:
    """A zombie that nobody has collected yet does not run."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_benchmark_that_is_told_to_end_leaves_nothing_behind(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", BENCHMARK], cwd=ROOT, stdout=subprocess.PIPE, text=True) as benchmark:
        assert benchmark.stdout is not None
        pid, folder = benchmark.stdout.readline().split()
        benchmark.send_signal(number)
        code = benchmark.wait(PATIENCE)
    give_up_at = time.monotonic() + PATIENCE
    while is_running(int(pid)) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    assert not is_running(int(pid))
    if number is signal.SIGTERM:
        assert code == 128 + signal.SIGTERM
        assert not Path(folder).exists()
