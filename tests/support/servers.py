"""Private servers on loopback: a RabbitMQ node and Postfix's ``smtp-sink``.

Plain synchronous classes that are context managers, so tests, benchmarks and scripts use them alike; the pytest
fixtures in ``tests/conftest.py`` only wrap them. Nothing of a system-wide installation is touched: every port, file,
cookie and process belongs to one object, and ends with it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port
from tests.support.processes import Process, ServerNotReady, is_listening

LOOPBACK = "127.0.0.1"
START_TRIES = 3  # a port that was free may be taken before the server binds it

# The wrapper in /usr/sbin changes user and drops the environment; the scripts it calls do neither.
RABBITMQ_SCRIPTS = Path(os.environ.get("RELAYQ_TEST_RABBITMQ_SCRIPTS", "/usr/lib/rabbitmq/bin"))
RABBITMQ_START_TIMEOUT = 90.0  # about 10 s on an idle machine with two cores
RABBITMQCTL_TIMEOUT = 60.0  # starts an Erlang node of its own each time: 1 to 3 s
VHOSTS_PER_CALL = 16
MEBIBYTE = 1024 * 1024

SINK_START_TIMEOUT = 20.0


class RabbitMqNode:
    """A RabbitMQ node of its own, with its own epmd, cookie and folder; runs as the current user.

    ``memory_bytes`` is the absolute memory watermark above which the broker blocks publishers. Extra lines for
    ``rabbitmq.conf`` go into ``config``. Use as a context manager, or call `start` and `close`.
    """

    def __init__(self, *, memory_bytes: int = 1024 * MEBIBYTE, config: Sequence[str] = ()) -> None:
        self._memory_bytes = memory_bytes
        self._config = tuple(config)
        self._folder: Path | None = None
        self._epmd: Process | None = None
        self._node: Process | None = None
        self._env: dict[str, str] = {}
        self._spare_vhosts: list[str] = []
        self.port = 0

    @staticmethod
    def is_installed() -> bool:
        """Whether the server's own start scripts are on this machine."""
        return (RABBITMQ_SCRIPTS / "rabbitmq-server").exists() and shutil.which("epmd") is not None

    @property
    def url(self) -> str:
        """AMQP address of the default virtual host."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}/"

    @property
    def pid(self) -> int:
        """Process id of the node, also after it was stopped or killed."""
        assert self._node is not None, "the node was never started"
        return self._node.pid

    @property
    def is_running(self) -> bool:
        """Whether the node's process is alive."""
        return self._node is not None and self._node.is_running

    def start(self) -> None:
        """Start the node and wait until it speaks AMQP; does nothing while it runs.

        After `stop` or `kill` the node comes back on the same port with the same durable queues.

        Raises:
            ServerNotReady: it ended, or was not ready in time; its last output is in the message.
        """
        if self.is_running:
            return
        if self._folder is not None:
            self._start_node()
            return
        for remaining in reversed(range(START_TRIES)):
            try:
                self._prepare()
                self._start_epmd()
                self._start_node()
            except ServerNotReady:
                self.close()
                if not remaining:
                    raise
            else:
                return

    def stop(self) -> None:
        """Shut the node down in order; durable queues and persistent messages stay on disk."""
        if self._node is not None:
            self._node.stop()

    def kill(self) -> None:
        """End the node with SIGKILL, as a crash would."""
        if self._node is not None:
            self._node.kill()

    def restart(self) -> None:
        """Stop in order and start again on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the node and its epmd, and remove the folder."""
        self.stop()
        if self._epmd is not None:
            self._epmd.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._node = self._epmd = self._folder = None
        self._spare_vhosts.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def rabbitmqctl(self, *arguments: str, timeout: float = RABBITMQCTL_TIMEOUT) -> str:
        """Run ``rabbitmqctl`` against this node and return what it printed.

        Raises:
            RuntimeError: it failed; its output is in the message.
        """
        result = subprocess.run(
            [str(RABBITMQ_SCRIPTS / "rabbitmqctl"), "--quiet", *arguments],
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if result.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {result.stdout}{result.stderr}")
        return result.stdout

    def new_vhost(self) -> str:
        """Return the AMQP address of an empty virtual host that nobody else was given.

        They are made in batches: one ``rabbitmqctl`` costs a second of CPU, one virtual host a few milliseconds.
        """
        self.start()
        if not self._spare_vhosts:
            self._spare_vhosts = self._create_vhosts(VHOSTS_PER_CALL)
        return f"{self.url}{self._spare_vhosts.pop()}"

    def _create_vhosts(self, count: int) -> list[str]:
        names = [f"test-{secrets.token_hex(6)}" for _ in range(count)]
        listed = ", ".join(f'<<"{name}">>' for name in names)
        self.rabbitmqctl(
            "eval",
            f'[begin rabbit_vhost:add(Name, <<"tests">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, Name, <<".*">>, <<".*">>, <<".*">>, '
            f'<<"tests">>) end || Name <- [{listed}]], ok.',
        )
        return names

    def _prepare(self) -> None:
        """Lay out the folder, the environment and the configuration file; ports are chosen here."""
        folder = Path(tempfile.mkdtemp(prefix="relayq-rabbitmq-"))
        self._folder = folder
        self.port = free_port()
        cookie = folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(20), encoding="ascii")
        cookie.chmod(0o400)
        (folder / "enabled_plugins").write_text("[].\n", encoding="ascii")
        lines = (
            f"listeners.tcp.1 = {LOOPBACK}:{self.port}",
            "disk_free_limit.absolute = 50MB",
            f"vm_memory_high_watermark.absolute = {self._memory_bytes}",
            "log.file.level = warning",
            *self._config,
        )
        (folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._env = self._environment(folder)

    def _environment(self, folder: Path) -> dict[str, str]:
        ctl_port = free_port()
        local_distribution = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": f"relayq-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            # Makes the start script become the Erlang node instead of its parent: one pid to stop.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput {local_distribution} +sbwt none",
            "RABBITMQ_CTL_ERL_ARGS": local_distribution,
            "RABBITMQ_CTL_DIST_PORT_MIN": str(ctl_port),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(ctl_port + 20),
        }

    def _start_epmd(self) -> None:
        """Start the Erlang port mapper as our child: the node would start one that outlives it."""
        assert self._folder is not None
        port = int(self._env["ERL_EPMD_PORT"])
        self._epmd = Process(
            ["epmd", "-port", str(port), "-address", LOOPBACK],
            env=self._env,
            log_file=self._folder / "epmd.out",
            cwd=self._folder,
        )
        self._epmd.wait_until(lambda: is_listening(LOOPBACK, port), timeout=SINK_START_TIMEOUT, what="epmd")

    def _start_node(self) -> None:
        assert self._folder is not None
        self._node = Process(
            [str(RABBITMQ_SCRIPTS / "rabbitmq-server")],
            env=self._env,
            log_file=self._folder / "node.out",
            cwd=self._folder,
        )
        self._node.wait_until(self._speaks_amqp, timeout=RABBITMQ_START_TIMEOUT, what="the RabbitMQ node")

    def _speaks_amqp(self) -> bool:
        """Whether a protocol header is answered by ``connection.start`` (a method frame on channel 0)."""
        if not is_listening(LOOPBACK, self.port):
            return False
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=5) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                return probe.recv(3) == b"\x01\x00\x00"
        except OSError:
            return False


class SmtpSink:
    """Postfix's ``smtp-sink``: one process that accepts mail and throws it away, or keeps it with ``keep``.

    ``options`` are its own, such as ``("-B", "550 5.1.1 no such user", "-f", "RCPT")`` to reject or
    ``("-w", "1")`` to delay each reply to DATA by a second.
    """

    def __init__(
        self,
        *options: str,
        address: str = LOOPBACK,
        port: int = 0,
        backlog: int = 1024,
        max_connections: int = 1024,
        keep: bool = False,
    ) -> None:
        self.address = address
        self.port = port or free_port(address)
        self._options = options
        self._backlog = backlog
        self._max_connections = max_connections
        self._keep = keep
        self._folder: Path | None = None
        self._process: Process | None = None

    @staticmethod
    def program() -> str | None:
        """Path of the program, None when Postfix is not installed."""
        return shutil.which("smtp-sink", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

    @staticmethod
    def is_installed() -> bool:
        """Whether the program is on this machine."""
        return SmtpSink.program() is not None

    @property
    def pid(self) -> int:
        """Process id, also after it was stopped."""
        assert self._process is not None, "the sink was never started"
        return self._process.pid

    @property
    def output(self) -> Path:
        """File with what it prints, such as the running counter of its option ``-c``."""
        assert self._folder is not None, "the sink was never started"
        return self._folder / "sink.out"

    def start(self) -> None:
        """Start the sink and wait until it listens.

        Raises:
            ServerNotReady: it ended or did not listen in time; its output is in the message.
        """
        program = self.program()
        if program is None:
            raise ServerNotReady("smtp-sink is not installed (package postfix)")
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="relayq-sink-"))
            # As root the sink becomes another user, who has to write its dumps here.
            self._folder.chmod(0o777)
        self._process = Process(
            [program, *self._arguments(), f"{self.address}:{self.port}", str(self._backlog)],
            env={"PATH": os.environ.get("PATH", os.defpath)},
            log_file=self._folder / "sink.out",
            cwd=self._folder,
        )
        self._process.wait_until(
            lambda: is_listening(self.address, self.port), timeout=SINK_START_TIMEOUT, what="smtp-sink"
        )

    def _arguments(self) -> Iterable[str]:
        if os.geteuid() == 0:  # it refuses to run as root otherwise
            yield from ("-u", "nobody")
        if self._keep:
            yield from ("-d", "mail.")
        yield from ("-m", str(self._max_connections))
        yield from self._options

    def messages(self) -> tuple[bytes, ...]:
        """What was received with ``keep``, oldest first: each as smtp-sink dumps it.

        The dump starts with header lines of its own, ``X-Client-Addr``, ``X-Helo-Args``, ``X-Mail-Args`` and
        ``X-Rcpt-Args``, and has LF line ends. A message is complete once its final 250 has been read.
        """
        assert self._folder is not None, "the sink was never started"
        files = sorted(self._folder.glob("mail.*"), key=lambda file: file.stat().st_mtime_ns)
        return tuple(file.read_bytes() for file in files)

    def stop(self) -> None:
        """End the process; its open sessions are cut, what it kept can still be read, `start` brings it back."""
        if self._process is not None:
            self._process.stop()

    def close(self) -> None:
        """End the process and remove what it kept."""
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._process = self._folder = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
