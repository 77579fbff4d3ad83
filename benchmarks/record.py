"""Figures as files: what a benchmark measured, with what, and where, for ``scripts/generate_performance.py``.

A record is one JSON object: ``benchmark`` (its name), ``command``, ``machine``, ``settings`` (of relayq, beyond those
every benchmark has) and ``figures``, whose shape is the benchmark's own.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.support.servers import RABBITMQ_SCRIPTS

ROOT = Path(__file__).parents[1]


def machine() -> dict[str, object]:
    """What the figures depend on, and how busy it is already."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / (1 << 30)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "uvloop": version("uvloop"),
        "rabbitmq": _rabbitmq(),
        "load_before": round(os.getloadavg()[0], 1),
        "revision": _revision(),
        "day": datetime.now(UTC).date().isoformat(),
    }


def write_record(
    path: Path,
    benchmark: str,
    figures: Mapping[str, object],
    *,
    where: Mapping[str, object],
    settings: tuple[str, ...] | list[str] = (),
) -> None:
    """Write the record of one benchmark.

    Args:
        path: The file; its folder is made.
        benchmark: Module below ``benchmarks``.
        figures: What was measured.
        where: :func:`machine`, asked before anything ran.
        settings: Further settings of relayq, ``key=value``.
    """
    record = {
        "benchmark": benchmark,
        "command": f"python -m benchmarks.{benchmark} {shlex.join(_without_output(sys.argv[1:]))}".rstrip(),
        "machine": dict(where),
        "settings": list(settings),
        "figures": dict(figures),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")


def _without_output(arguments: list[str]) -> list[str]:
    """The command line without the name of the file: it says nothing about the figures."""
    if "--json" not in arguments:
        return arguments
    at = arguments.index("--json")
    return arguments[:at] + arguments[at + 2 :]


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _rabbitmq() -> str:
    found = sorted(path.name for path in (RABBITMQ_SCRIPTS.parent / "lib").glob("rabbitmq_server-*"))
    return found[-1].partition("-")[2] if found else ""


def _revision() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
