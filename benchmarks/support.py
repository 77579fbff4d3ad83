"""What the macro benchmarks share: processes and their costs, a DNS server that knows every domain, messages."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests.support.processes import Leash

TICKS = os.sysconf("SC_CLK_TCK")
MX_HOST = "mx.bench.test"
LINE = "Hello, this is one line of a mail body that is about as long as lines in mails are.\r\n"


def end_in_order() -> None:
    """From now on SIGTERM ends the benchmark as Ctrl-C does: what it started ends, and its folders go."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: object) -> None:
    del frame
    raise SystemExit(128 + number)


class Child(subprocess.Popen[bytes]):
    """A process that does not outlive the benchmark, even when that is killed."""

    def __init__(
        self, command: Sequence[str], *, stdout: IO[bytes] | int | None = None, stderr: IO[bytes] | int | None = None
    ) -> None:
        super().__init__(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        self._leash = Leash(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        code = super().wait(timeout)
        self._leash.release()
        return code


class Cost:
    """CPU seconds and memory of a process and all its children, read from /proc."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def cpu_seconds(self) -> float:
        """User and system time so far, of children that have ended too."""
        return sum(self._own_cpu(pid) for pid in self.family(self.pid))

    def peak_mib(self) -> float:
        """Largest resident set so far, summed over the family."""
        return sum(self.status_kib(pid, "VmHWM:") for pid in self.family(self.pid)) / 1024

    @staticmethod
    def _own_cpu(pid: int) -> float:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return sum(int(field) for field in fields[11:15]) / TICKS

    @staticmethod
    def status_kib(pid: int, name: str) -> int:
        """A line of its status; 0 when it is gone."""
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)

    @classmethod
    def family(cls, pid: int) -> list[int]:
        """The process and all below it."""
        family = [pid]
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                children = path.read_text().split()
            except OSError:
                continue
            for child in children:
                family += cls.family(int(child))
        return family


def process_figures(pid: int) -> tuple[float, int]:
    """Resident memory now in MiB, and open files, of a process and all its children."""
    kib, files = 0, 0
    for member in Cost.family(pid):
        kib += Cost.status_kib(member, "VmRSS:")
        try:
            files += len(os.listdir(f"/proc/{member}/fd"))
        except OSError:
            continue
    return kib / 1024, files


def idle_seconds() -> float:
    """Time that the processors of the machine had nothing to do, all of them added up."""
    return sum(int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[4:6]) / TICKS


class EveryDomain(asyncio.DatagramProtocol):
    """Answers MX with one host and A with 127.0.0.1, whatever the name; those of ``badN.…`` are at 127.0.0.N."""

    def __init__(self) -> None:
        self.queries = 0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Copy the question, append one record."""
        self.queries += 1
        end = data.index(b"\0", 12) + 5
        (kind,) = struct.unpack_from(">H", data, end - 4)
        record = b""
        if kind == 1:
            record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 3600, 4) + bytes((127, 0, 0, self._place(data)))
        elif kind == 15:
            place = self._place(data)
            name = MX_HOST if place == 1 else f"bad{place}.bench.test"
            host = b"".join(bytes((len(part),)) + part.encode() for part in name.split(".")) + b"\0"
            record = b"\xc0\x0c" + struct.pack(">HHIHH", 15, 1, 3600, len(host) + 2, 10) + host
        header = data[:2] + struct.pack(">HHHHH", 0x8580, 1, 1 if record else 0, 0, 0)
        self._transport.sendto(header + data[12:end] + record, addr)

    @staticmethod
    def _place(question: bytes) -> int:
        """Last number of the address."""
        label = question[13:17]
        return label[3] - ord("0") if label.startswith(b"bad") else 1


async def serve_dns() -> tuple[int, EveryDomain, asyncio.DatagramTransport]:
    """The server's port, itself, and its transport to close."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(EveryDomain, local_addr=("127.0.0.1", 0))
    return transport.get_extra_info("sockname")[1], server, transport


def message_bodies(size: int, domains: int) -> Callable[[int], bytes]:
    """Outbox messages by number: ``size`` octets of MIME, recipients spread over ``domains``."""
    head = "From: News <news@shop.test>\r\nTo: You <you@example.test>\r\nSubject: The news of the day\r\n\r\n"
    lines = max(1, (size - len(head)) // len(LINE))
    mime = json.dumps(head + LINE * lines)

    def body(number: int) -> bytes:
        return (
            f'{{"envelope":"bounce@shop.test","recipient":"user{number}@d{number % domains}.test","id":{number},'
            f'"at":{time.time():.6f},"mime":{mime}}}'
        ).encode()

    return body


class RelayqProcess:
    """``relayq run`` with a configuration file of its own."""

    def __init__(
        self, settings: dict[str, str], *, profile_to: str | None = None, launcher: Sequence[str] = ()
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="relayq-bench-")
        path = Path(self._folder.name) / "config.txt"
        given = {"journal-directory": f"{self._folder.name}/journal", "smtp-threads": "1", **settings}
        path.write_text("".join(f"{key}: {value}\n" for key, value in given.items()))
        self.log = Path(self._folder.name) / "log.txt"
        command = [sys.executable, "-m", "relayq", "run", "--no-default-config", f"--config-file={path}"]
        command[1:1] = ["-m", "cProfile", "-o", profile_to] if profile_to else launcher
        with self.log.open("wb") as log:
            self._process = Child(command, stdout=log, stderr=log)
        self.cost = Cost(self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """It has not ended by itself."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it in order, or at once after 20 s."""
        self._process.terminate()  # nothing happens if it has ended
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        """Already started."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()
        self._folder.cleanup()


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)
