"""A command of relayq, of which the part between two SIGALRM is profiled by the CPU time of its thread.

    python -m benchmarks.profiled OUT.prof -m relayq run …

The second signal writes the profile, and beside it, as ``OUT.seconds``, the CPU time of the thread meanwhile: what no
Python function had of it was uvloop's and the kernel's. It is CPU time, not wall clock: waiting for sockets costs
nothing.
"""

from __future__ import annotations

import cProfile
import runpy
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    """Take the file's name from the command line and run the rest."""
    target = Path(sys.argv[1])
    module, arguments = sys.argv[3], sys.argv[4:]
    profile = cProfile.Profile(time.thread_time_ns, 1e-9, builtins=False)
    is_running = False
    started = 0.0

    def toggle(number: int, frame: object) -> None:
        nonlocal is_running, started
        del number, frame
        if is_running:
            profile.disable()
            target.with_suffix(".seconds").write_text(str(time.thread_time() - started), encoding="ascii")
            unfinished = target.with_suffix(".part")
            profile.dump_stats(str(unfinished))
            unfinished.rename(target)  # who waits for the file finds it whole
        else:
            started = time.thread_time()
            profile.enable()
        is_running = not is_running

    signal.signal(signal.SIGALRM, toggle)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
