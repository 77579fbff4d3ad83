"""Other mail servers as senders: each is filled with mail while it may not send, then let go.

Postfix, Exim and OpenSMTPD run from private root directories, Haraka from its npm package, as the tests run them.
Nothing is looked up in DNS: each has a fixed route to the sink, which spares it work that relayq has to do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.support import Cost
from tests.support.ports import free_port
from tests.support.processes import Process, is_listening
from tests.support.receivers.jail import Jail, is_unpacked, unpacked
from tests.support.receivers.postfix import MASTER
from tests.support.receivers.postfix import QUEUES as POSTFIX_QUEUES

LOOPBACK = "127.0.0.1"
RAM = Path("/dev/shm")
START_SECONDS = 30.0
FILL_SESSIONS = 20
FILL_SECONDS = 600.0
EXIM_RUNNERS = 4


@contextlib.contextmanager
def folders_in(place: Path | None) -> Iterator[None]:
    """Temporary folders are made there meanwhile; None is the usual place."""
    before = tempfile.tempdir
    if place is not None:
        tempfile.tempdir = str(place)
    try:
        yield
    finally:
        tempfile.tempdir = before


def inject(port: int, messages: int, size: int) -> None:
    """Hand ``messages`` of ``size`` octets to a server on ``port`` with Postfix's smtp-source.

    Raises:
        subprocess.CalledProcessError: It refused one.
    """
    program = shutil.which("smtp-source", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        raise SystemExit("smtp-source is not installed (package postfix)")
    subprocess.run(
        [
            program, "-s", str(FILL_SESSIONS), "-m", str(messages), "-l", str(size), "-N", "-f", "bounce@shop.test",
            "-t", "user@d0.test", f"{LOOPBACK}:{port}",
        ],
        check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=FILL_SECONDS,
    )  # fmt: skip


class Peer(ABC):
    """One way of running one server; use `fill`, `release`, `cpu_seconds`, `close` in this order.

    Attributes:
        name: What the table calls it.
        durability: What survives a crash while it sends, in a few words.
        most_messages: What it can be given in a reasonable time; None is any number.
    """

    name: str
    durability: str
    most_messages: int | None = None

    def __init__(self, sink_port: int) -> None:
        self.sink_port = sink_port
        self.port = free_port()
        self._process: Process | None = None
        self._cost: Cost | None = None

    @staticmethod
    @abstractmethod
    def is_installed() -> bool:
        """Whether its files are there."""

    @abstractmethod
    def fill(self, messages: int, size: int) -> None:
        """Take the mail and keep it."""

    @abstractmethod
    def release(self) -> None:
        """Start to send."""

    def cpu_seconds(self) -> float:
        """User and system time since `release`, of all its processes, ended ones too."""
        assert self._cost is not None, "not released"
        return self._cost.cpu_seconds()

    def close(self) -> None:
        """End it and remove its files."""
        self._stop()
        self._remove_files()

    @abstractmethod
    def _remove_files(self) -> None:
        """Nothing is left of it."""

    def _stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def _count_from_now(self) -> None:
        assert self._process is not None
        self._cost = Cost(self._process.pid)

    def _wait(self, process: Process) -> None:
        process.wait_until(lambda: is_listening(LOOPBACK, self.port), timeout=START_SECONDS, what=self.name)


_POSTFIX_MASTER = """\
{listen} inet n - n - - smtpd
cleanup   unix  n - n - 0 cleanup
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
error     unix  - - n - - error
retry     unix  - - n - - error
smtp      unix  - - n - - smtp
scache    unix  - - n - 1 scache
anvil     unix  - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
qmgr      unix  n - n 300 1 qmgr
"""
_POSTFIX_TUNING = {
    "default_process_limit": "200",
    "smtp_destination_concurrency_limit": "100",
    "initial_destination_concurrency": "100",
    "in_flow_delay": "0",
    "qmgr_message_active_limit": "100000",
    "qmgr_message_recipient_limit": "100000",
}


class Postfix(Peer):
    """As it comes, its queue on disk. It puts what it takes on hold; released is all of that at once."""

    name = "Postfix, defaults, queue on disk"
    durability = "queue files, synced when received"
    place: Path | None = None
    tuning: Mapping[str, str] = {}

    def __init__(self, sink_port: int) -> None:
        super().__init__(sink_port)
        with folders_in(self.place):
            self._jail = Jail("postfix", "postfix", "postdrop", "nobody")
        self._configure()

    @staticmethod
    def is_installed() -> bool:
        """Whether its files are there."""
        return is_unpacked("postfix")

    def _configure(self) -> None:
        main = {
            "compatibility_level": "3.6",
            "myhostname": "mx.postfix.test",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "local_recipient_maps": "",
            "relayhost": f"[{LOOPBACK}]:{self.sink_port}",
            "disable_dns_lookups": "yes",
            "maillog_file": "/var/log/postfix.log",
            "message_size_limit": "20000000",
            "smtpd_client_restrictions": "check_client_access static:HOLD",
            **self.tuning,
        }
        self._jail.write("etc/postfix/main.cf", "".join(f"{name} = {value}\n" for name, value in main.items()))
        folder = self._jail.folder
        folder("var/log")
        folder("var/lib/postfix", "postfix", mode=0o700)
        folder("var/spool/postfix")
        for name in POSTFIX_QUEUES:
            folder(f"var/spool/postfix/{name}", "postfix", mode=0o700)
        folder("var/spool/postfix/pid", mode=0o755)
        folder("var/spool/postfix/maildrop", "postfix", mode=0o730)
        folder("var/spool/postfix/public", "postfix", mode=0o710)

    def _start(self) -> None:
        self._jail.write("etc/postfix/master.cf", _POSTFIX_MASTER.format(listen=f"{LOOPBACK}:{self.port}"))
        self._process = self._jail.start(MASTER, "-d")
        self._wait(self._process)

    def fill(self, messages: int, size: int) -> None:
        """Receive everything into the queue ``hold``."""
        self._start()
        inject(self.port, messages, size)
        self._stop()

    def release(self) -> None:
        """Start again with all of it in ``incoming``, which the queue manager goes through first."""
        spool = self._jail.root / "var/spool/postfix"
        for file in (spool / "hold").iterdir():
            file.rename(spool / "incoming" / file.name)
        self._start()
        self._count_from_now()

    def _remove_files(self) -> None:
        self._jail.close()


class PostfixTuned(Postfix):
    """More processes, no waiting, and the queue in memory."""

    name = "Postfix, tuned, queue in RAM"
    durability = "none: lost with the machine"
    place = RAM
    tuning = _POSTFIX_TUNING


_EXIM = """\
primary_hostname = mx.exim.test
local_interfaces = {address}
daemon_smtp_ports = {port}
exim_user = Debian-exim
exim_group = Debian-exim
never_users =
deliver_drop_privilege
keep_environment =
rfc1413_query_timeout = 0s
host_lookup =
queue_only
split_spool_directory
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
tls_advertise_hosts =
acl_smtp_rcpt = accept
acl_smtp_data = accept

begin acl
accept:
  accept

begin routers
all:
  driver = manualroute
  route_list = * {address}
  transport = out
  self = send

begin transports
out:
  driver = smtp
  port = {sink_port}
  hosts_try_fastopen =
  connection_max_messages = 500
  hosts_try_chunking =
"""


class Exim(Peer):
    """Fills its spool with ``queue_only``, then several queue runners at once."""

    name = f"Exim, {EXIM_RUNNERS} queue runners"
    durability = "spool files, synced when received"

    def __init__(self, sink_port: int) -> None:
        super().__init__(sink_port)
        self._jail = Jail("exim4-daemon-light", "Debian-exim")
        text = _EXIM.format(address=LOOPBACK, port=self.port, sink_port=sink_port)
        self._jail.write("etc/exim4/exim4.conf", text)
        for folder in ("var/spool/exim4", "var/log/exim4"):
            self._jail.folder(folder, "Debian-exim")
        self._runners: list[Process] = []
        self._costs: list[Cost] = []

    @staticmethod
    def is_installed() -> bool:
        """Whether its files are there."""
        return is_unpacked("exim4-daemon-light")

    def fill(self, messages: int, size: int) -> None:
        """The daemon only queues."""
        self._process = self._jail.start("/usr/sbin/exim4", "-bdf")
        self._wait(self._process)
        inject(self.port, messages, size)
        self._stop()

    def release(self) -> None:
        """Runners that sort by host first, so that connections are used again."""
        for _ in range(EXIM_RUNNERS):
            runner = self._jail.start("/usr/sbin/exim4", "-qqf")
            self._runners.append(runner)
            self._costs.append(Cost(runner.pid))

    def cpu_seconds(self) -> float:
        """Of all runners and what they started."""
        return sum(cost.cpu_seconds() for cost in self._costs)

    def close(self) -> None:
        """The runners first."""
        for runner in self._runners:
            runner.stop()
        super().close()

    def _remove_files(self) -> None:
        self._jail.close()


_OPENSMTPD = """\
smtp max-message-size 20M
listen on {address} port {port} hostname mx.opensmtpd.test
action "out" relay host smtp://{address}:{sink_port}
match from any for any action "out"
"""


class OpenSmtpd(Peer):
    """Paused with its own command while it is filled.

    It waits for delayed acknowledgements of TCP, 40 ms for each message and direction, on a connection or two.
    """

    name = "OpenSMTPD, defaults"
    durability = "queue files, synced when received"
    most_messages = 300

    def __init__(self, sink_port: int) -> None:
        super().__init__(sink_port)
        self._jail = Jail("opensmtpd", "opensmtpd", "opensmtpq")
        self._jail.add_shell()
        self._let_control_work()
        text = _OPENSMTPD.format(address=LOOPBACK, port=self.port, sink_port=sink_port)
        self._jail.write("etc/smtpd.conf", text, mode=0o600)
        self._jail.write("etc/ssl/certs/ca-certificates.crt", "")
        self._jail.write("etc/resolv.conf", "lookup file\n")
        for folder in ("var/lib/opensmtpd/empty", "var/empty"):
            self._jail.folder(folder)
        self._jail.folder("var/spool", mode=0o711)
        self._before = 0.0

    @staticmethod
    def is_installed() -> bool:
        """Whether its files are there."""
        return is_unpacked("opensmtpd")

    def _let_control_work(self) -> None:
        """Its command insists on the group that an installation would give it."""
        program = self._jail.root / "usr/sbin/smtpctl"
        content = program.read_bytes()
        program.unlink()  # it is a link to the unpacked file
        program.write_bytes(content)
        os.chown(program, 0, self._jail.uids["opensmtpq"])
        program.chmod(0o2755)

    def fill(self, messages: int, size: int) -> None:
        """Receive while sending is paused."""
        self._process = self._jail.start("/usr/sbin/smtpd", "-d")
        self._wait(self._process)
        self._jail.run("/usr/sbin/smtpctl", "pause", "mta")
        inject(self.port, messages, size)

    def release(self) -> None:
        """Resume sending."""
        self._count_from_now()
        self._before = super().cpu_seconds()
        self._jail.run("/usr/sbin/smtpctl", "resume", "mta")

    def cpu_seconds(self) -> float:
        """Without what receiving cost: it is the same process."""
        return super().cpu_seconds() - self._before

    def _remove_files(self) -> None:
        self._jail.close()


_HARAKA_PLUGIN = """\
"use strict";
exports.hook_mail = (next) => next();
exports.hook_rcpt = (next, connection) => { connection.relaying = true; next(OK); };
exports.hook_get_mx = (next) => next(OK, { priority: 0, exchange: "127.0.0.1", port: %d });
"""

_HARAKA_CONNECTION = """\
[main]
[haproxy]
hosts[] =
[headers]
[max]
bytes=20000000
line_length=512
[message]
[uuid]
"""


class Haraka(Peer):
    """Filled with its outbound side disabled, then started again; one Node.js process, 100 deliveries at once."""

    name = "Haraka, 100 at once"
    durability = "queue files, not synced"

    def __init__(self, sink_port: int) -> None:
        super().__init__(sink_port)
        self._folder = Path(tempfile.mkdtemp(prefix="relayq-haraka-peer-"))
        (self._folder / "config").mkdir()
        (self._folder / "plugins").mkdir()
        (self._folder / "queue").mkdir()
        (self._folder / "plugins" / "route.js").write_text(_HARAKA_PLUGIN % sink_port)

    @staticmethod
    def is_installed() -> bool:
        """Whether Node.js and the packages are there."""
        return is_unpacked("haraka") and shutil.which("node") is not None

    def _start(self, *, sending: bool) -> None:
        for name, text in {
            "me": "mx.haraka.test",
            "plugins": "route",
            "smtp.ini": f"listen={LOOPBACK}:{self.port}\nnodes=0\n",
            "connection.ini": _HARAKA_CONNECTION,
            "outbound.ini": f"disabled={'false' if sending else 'true'}\nconcurrency_max=100\nenable_tls=false\n",
            "log.ini": "level=ERROR",
        }.items():
            (self._folder / "config" / name).write_text(f"{text}\n")
        self._process = Process(
            [str(unpacked("haraka") / "node_modules/.bin/haraka"), "-c", str(self._folder)],
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._folder)},
            log_file=self._folder / "output", cwd=self._folder,
        )  # fmt: skip
        self._wait(self._process)

    def fill(self, messages: int, size: int) -> None:
        """Receive with the outbound side disabled."""
        self._start(sending=False)
        inject(self.port, messages, size)
        self._stop()

    def release(self) -> None:
        """It reads its queue folder at the start."""
        self._start(sending=True)
        self._count_from_now()

    def _remove_files(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


PEERS: tuple[type[Peer], ...] = (Postfix, PostfixTuned, Exim, OpenSmtpd, Haraka)
