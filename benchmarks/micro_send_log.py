"""What a line of the send log costs the event loop, and the whole process.

    python -m benchmarks.micro_send_log [--lines N]

The first figure is the time of one call on the event loop, with the thread that writes beside it; the second is all CPU
of the process per line, the thread's share included.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from relayq.adapters.send_log import SendLog
from relayq.model import Attempt, Outcome
from relayq.model.attempt import DeliveryState, ResultType
from relayq.model.message_json import ParseRules, decode_members, parse_message

FORMATS = {
    "fields": None,
    "json": "json",
    "template": "{$date} {$result.state}/{$result.result} {$email.recipient} {$result.code} {$result.description}",
}
BATCH = 1000
PAUSE = 0.0005
"""Seconds between two batches: about 2,000 batches would be far above any real rate without them."""


def cpu() -> float:
    """Seconds of CPU this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(name: str, format_text: str | None, lines: int, folder: Path) -> None:
    """Print the figures of one format."""
    body = {
        "envelope": "news@shop.example",
        "recipient": "anna@customer.example",
        "tags": ["spring"],
        "mime": "x" * 10_240,
    }
    message = parse_message(decode_members(msgspec.json.encode(body)), ParseRules())
    attempt = Attempt(
        state=DeliveryState.MESSAGE,
        result=ResultType.ACCEPTED,
        at=datetime.now(UTC),
        egress_ip="192.0.2.10",
        remote_ip="198.51.100.25",
        ordinal=3,
        code=250,
        status="2.0.0",
        description="Ok: queued as 4F2A9",
    )
    path = folder / f"{name}.log"
    log = SendLog(path, format_text, print)
    before, times = cpu(), []
    for _ in range(lines // BATCH):
        start = time.perf_counter()
        for _ in range(BATCH):
            log.write(message, attempt, Outcome.SUCCESS)
        times.append((time.perf_counter() - start) / BATCH)
        time.sleep(PAUSE)
    log.close()
    used = (cpu() - before) / lines
    written = path.read_bytes().count(b"\n")
    assert written == lines, (written, lines)
    print(f"{name:<9} {statistics.median(times) * 1e6:6.2f} µs per call, {used * 1e6:6.2f} µs CPU per line in all")


def main() -> None:
    """Measure every format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    lines: int = parser.parse_args().lines
    with tempfile.TemporaryDirectory() as folder:
        for name, format_text in FORMATS.items():
            measure(name, format_text, lines, Path(folder))


if __name__ == "__main__":
    main()
