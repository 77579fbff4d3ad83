"""What TLS costs: throughput on kept connections beside clear text, and the handshake of a new session by itself.

The worker runs in this process over the memory broker, so its figures are those of the delivery path alone; the
receiver is ``relayq sink`` in a process of its own. Runs in clear and under TLS alternate, after one to warm up.

    python -m benchmarks.tls
    python -m benchmarks.tls --messages 20000 --size 1024 --runs 5
    python -m benchmarks.tls --level verified
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme
import uvloop

from benchmarks.support import Child, end_in_order, median, message_bodies
from relayq.adapters.clock import SystemClock
from relayq.adapters.memory import MemoryBroker, MemoryResolver, RecordingObserver
from relayq.adapters.sockets import SocketNetwork
from relayq.adapters.tls import TlsOptions, make_context
from relayq.app import Worker, World
from relayq.config import load, parse_options
from relayq.ports import Properties, Publication, QueueRole
from tests.support.ports import free_port

MX = "mx.bench.test"
POLL_SECONDS = 0.005
GIVE_UP_SECONDS = 120.0
WARM_SHARE = 0.1
HANDSHAKES = 400
LEAST_RATIO = 0.6
"""Throughput under TLS on kept connections, as a part of that in clear, that is promised."""


class SinkProcess:
    """``relayq sink`` that offers STARTTLS."""

    def __init__(self, certificate: Path) -> None:
        self.port = free_port("127.0.0.1")
        listen = f"127.0.0.1:{self.port}"
        self._process = Child(
            [sys.executable, "-m", "relayq", "sink", "--listen", listen, "--certificate", str(certificate)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self._process.stdout is not None
        self._process.stdout.readline()  # says where it listens

    def __enter__(self) -> Self:
        """Already started."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)


async def deliver(
    port: int, level: str, given: argparse.Namespace, ca_file: Path, *options: str
) -> tuple[float, float]:
    """Messages per second and microseconds of our own CPU per message, once the first tenth is done."""
    arguments = [
        f"--smtp-out-port={port}", f"--smtp-out-security={level}", "--rabbitmq-results=results",
        "--hostname=bench.test", "--journal-directory=", *(f"--{option}" for option in options),
    ]  # fmt: skip
    settings = load(parse_options(arguments), environ={}, no_default_config=True)
    clock = SystemClock()
    resolver = MemoryResolver(clock, warm=True)
    resolver.set_mx("d0.test", [(10, MX)])
    resolver.set_addresses(MX, "127.0.0.1")
    network = SocketNetwork(asyncio.get_running_loop(), TlsOptions(ca_file=str(ca_file)))
    worker = Worker(
        settings,
        observer=RecordingObserver(),
        world=World(
            resolver=resolver,
            network=network,
            broker=lambda listener: MemoryBroker(clock, listener),
            clock=clock,
        ),
    )
    broker = worker.broker
    assert isinstance(broker, MemoryBroker)
    bodies = message_bodies(given.size, 1)
    await broker.publish([
        Publication(queue="outbox", body=bodies(number), properties=Properties(), role=QueueRole.OUTBOX)
        for number in range(given.messages)
    ])  # fmt: skip
    gc.collect()
    await worker.start()
    first = await _until(broker, int(given.messages * WARM_SHARE))
    wall, cpu = time.perf_counter(), time.process_time()
    last = await _until(broker, given.messages)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await worker.stop()
    return (last - first) / wall, cpu / (last - first) * 1e6


async def _until(broker: MemoryBroker, count: int) -> int:
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while (done := len(broker.ready("results"))) < count:
        if time.monotonic() > give_up_at:
            raise SystemExit(f"stopped at {done} of {count} results")
        await asyncio.sleep(POLL_SECONDS)
    return done


def handshake_cost(authority: trustme.CA, ca_file: Path, *, verify: bool) -> float:
    """Microseconds of CPU the client side of one TLS 1.3 handshake takes, in memory."""
    context = make_context(TlsOptions(ca_file=str(ca_file)), verify=verify)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(MX).configure_cert(server)
    spent = 0.0
    for _ in range(HANDSHAKES):
        to_client, to_server, from_client, from_server = (ssl.MemoryBIO() for _ in range(4))
        peer = server.wrap_bio(to_server, from_server, server_side=True)
        start = time.process_time()
        client = context.wrap_bio(to_client, from_client, server_hostname=MX)
        spent += time.process_time() - start
        for _ in range(3):
            start = time.process_time()
            _step(client)
            spent += time.process_time() - start
            to_server.write(from_client.read())
            _step(peer)
            to_client.write(from_server.read())
    return spent / HANDSHAKES * 1e6


def _step(side: ssl.SSLObject) -> None:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return


def compare(given: argparse.Namespace, port: int, ca_file: Path, *options: str) -> tuple[list[float], list[float]]:
    """Messages per second and CPU per message: medians in clear, then under TLS."""
    rates: dict[str, list[float]] = {"optional": [], given.level: []}
    costs: dict[str, list[float]] = {"optional": [], given.level: []}
    for run in range(given.runs + 1):
        for level, measured in rates.items():
            rate, cost = uvloop.run(deliver(port, level, given, ca_file, *options))
            if run:
                measured.append(rate)
                costs[level].append(cost)
    return [median(values) for values in rates.values()], [median(values) for values in costs.values()]


def main() -> None:
    """Measure and print; exit 1 if TLS on kept connections costs more than is promised."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000, help="messages per run (10000)")
    parser.add_argument("--size", type=int, default=10_240, help="octets of MIME per message (10240)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--level", choices=("opportunistic", "required", "verified"), default="opportunistic")
    given = parser.parse_args()
    print(
        f"{given.messages} messages of {given.size} octets, level {given.level}, Python {platform.python_version()}, "
        f"{ssl.OPENSSL_VERSION}, {os.cpu_count()} cores, relayq sink on the same machine"
    )
    authority = trustme.CA()
    with tempfile.TemporaryDirectory(prefix="relayq-bench-") as folder:
        ca_file, certificate = Path(folder) / "ca.pem", Path(folder) / "server.pem"
        authority.cert_pem.write_to_path(str(ca_file))
        authority.issue_cert(MX).private_key_and_cert_chain_pem.write_to_path(str(certificate))
        with SinkProcess(certificate) as sink:
            kept = compare(given, sink.port, ca_file)
            given.messages //= 5
            fresh = compare(given, sink.port, ca_file, "connection-maxmessages=1")
        pure = [handshake_cost(authority, ca_file, verify=verify) for verify in (False, True)]
    # Where the receiver is the slower one, throughput hides what TLS costs here: CPU then shows it.
    ratio = min(kept[0][1] / kept[0][0], kept[1][0] / kept[1][1])
    print(f"kept connections     clear {kept[0][0]:7.0f}/s {kept[1][0]:6.0f} µs CPU   TLS {kept[0][1]:7.0f}/s "
          f"{kept[1][1]:6.0f} µs CPU   ratio {ratio:.2f}")  # fmt: skip
    print(f"one message each     clear {fresh[0][0]:7.0f}/s {fresh[1][0]:6.0f} µs CPU   TLS {fresh[0][1]:7.0f}/s "
          f"{fresh[1][1]:6.0f} µs CPU   STARTTLS {fresh[1][1] - fresh[1][0]:.0f} µs CPU")  # fmt: skip
    print(f"handshake alone      any certificate {pure[0]:.0f} µs CPU   verified {pure[1]:.0f} µs CPU")
    if ratio < LEAST_RATIO:
        raise SystemExit(f"TLS on kept connections: {ratio:.2f} of the throughput in clear, less than {LEAST_RATIO}")


if __name__ == "__main__":
    main()
