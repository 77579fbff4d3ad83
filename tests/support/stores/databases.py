"""Private database servers on loopback, unpacked and not installed, with nothing flushed to disk.

They are what message stores stand on. A killed one can be started again, on the same port with the same data.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Sequence

from tests.support.ports import free_port
from tests.support.processes import Process, ServerNotReady
from tests.support.receivers.jail import JailedServer
from tests.support.tls import authority

LOOPBACK = "127.0.0.1"
TLS_NAME = "localhost"
USER = "relayq"
PASSWORD = "s3cret/pässwörd"
DATABASE = "bodies"
START_SECONDS = 60.0
START_TRIES = 3  # what a killed one has left behind may need a moment to go away


class DatabaseServer(JailedServer):
    """A server with one database, made at the first start.

    Attributes:
        port: Where it listens.
    """

    user = "root"

    @property
    def address(self) -> str:
        """Where a store is in it."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self._is_made = False

    def make(self) -> None:
        """Lay out the data; done once."""
        raise NotImplementedError

    def configure(self) -> None:
        """Make the data unless they are there."""
        if not self._is_made:
            self._add_certificate()
            self.make()
            self._is_made = True

    def _add_certificate(self) -> None:
        """The files ``key.pem`` and ``cert.pem``; the name is right, the address is not in it."""
        leaf = authority().issue_cert(TLS_NAME)
        self.jail.write("cert.pem", leaf.cert_chain_pems[0].bytes().decode("ascii"))
        key = self.jail.write("key.pem", leaf.private_key_pem.bytes().decode("ascii"), mode=0o600)
        uid = self.jail.uids.get(self.user, 0)
        os.chown(key, uid, uid)

    def start(self) -> None:
        """Start the server and wait until it serves; does nothing while it runs.

        Raises:
            ServerNotReady: It ended, or did not serve in time; its output is in the message.
        """
        if self.is_running:
            return
        self.configure()
        for remaining in reversed(range(START_TRIES)):
            self._process = self.jail.start(*self.command(), user=self.user)
            try:
                self._process.wait_until(self.is_ready, timeout=START_SECONDS, what=self.package)
            except ServerNotReady:
                self._process.stop()
                if not remaining:
                    raise
            else:
                return

    @property
    def is_running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.is_running

    def close(self) -> None:
        """End the process and remove its folder."""
        if self.is_running:
            self.kill()  # nobody wants the data
        super().close()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._running.kill()

    def stop(self) -> None:
        """Shut it down in order."""
        self._running.stop()

    @property
    def _running(self) -> Process:
        assert self._process is not None, "the server was never started"
        return self._process

    def _answers(self, question: bytes, length: int) -> bytes:
        """What it says to ``question``; nothing when it does not answer."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=5) as probe:
                probe.sendall(question)
                return probe.recv(length)
        except OSError:
            return b""


class PostgreSqlServer(DatabaseServer):
    """PostgreSQL, one database, passwords with SCRAM."""

    package = "postgresql"
    users = ("postgres",)
    user = "postgres"

    @property
    def address(self) -> str:
        """A store in its only database."""
        return f"postgresql://{USER}:{PASSWORD.replace('/', '%2F')}@{LOOPBACK}:{self.port}/{DATABASE}?sslmode=disable"

    def make(self) -> None:
        """A cluster whose only user owns the database."""
        self.jail.add_shell()
        self.jail.folder("data", "postgres", mode=0o700)
        self.jail.folder("tmp", "postgres", mode=0o700)
        self.jail.write("tmp/password", f"{PASSWORD}\n")
        self._run("initdb", "-D", "/data", "-U", USER, "--auth=scram-sha-256", "--pwfile=/tmp/password", "--no-sync",
                  "--encoding=UTF8", "--no-locale", "--no-instructions")  # fmt: skip
        with (self.jail.root / "sql").open("w") as sql:
            sql.write(f"CREATE DATABASE {DATABASE}\n")
        self.jail.run("sh", "-c", f"{self._program('postgres')} --single -D /data postgres </sql", user=self.user)

    def _program(self, name: str) -> str:
        [path] = self.jail.root.glob(f"usr/lib/postgresql/*/bin/{name}")
        return f"/{path.relative_to(self.jail.root)}"

    def _run(self, name: str, *arguments: str) -> None:
        self.jail.run(self._program(name), *arguments, user=self.user)

    def command(self) -> Sequence[str]:
        """Small, and careless."""
        options = (
            f"port={self.port}", f"listen_addresses={LOOPBACK}", "unix_socket_directories=/tmp", "fsync=off",
            "full_page_writes=off", "autovacuum=off", "shared_buffers=16MB", "max_connections=40",
            "dynamic_shared_memory_type=mmap", "log_min_messages=fatal", "ssl=on", "ssl_cert_file=/cert.pem",
            "ssl_key_file=/key.pem",
        )  # fmt: skip
        return (self._program("postgres"), "-D", "/data", *(word for option in options for word in ("-c", option)))

    def stop(self) -> None:
        """Shut it down without waiting until everybody has gone."""
        os.kill(self.pid, signal.SIGINT)
        super().stop()

    def is_ready(self) -> bool:
        """Whether it asks for the password of its user; as long as it starts it says so in an error."""
        greeting = f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
        return self._answers(struct.pack("!II", 8 + len(greeting), 3 << 16) + greeting, 1) == b"R"


class MariaDbServer(DatabaseServer):
    """MariaDB, one database and a user that may do everything with it."""

    package = "mariadb-server-core"

    @property
    def address(self) -> str:
        """A store in its only database."""
        return f"mysql://{USER}:{PASSWORD.replace('/', '%2F')}@{LOOPBACK}:{self.port}/{DATABASE}"

    def make(self) -> None:
        """System tables, the user and the database."""
        self.jail.add_shell()
        self.jail.folder("data")
        # Of the program and of MySQL, depending on the version.
        names = ("usr/share/m*/m*_system_tables.sql", "usr/share/m*/m*_system_tables_data.sql")
        scripts = [next(self.jail.root.glob(name)) for name in names]
        tables = "".join(script.read_text(encoding="utf-8") for script in scripts)
        self.jail.write(
            "sql",
            f"CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n{tables}\nCREATE DATABASE {DATABASE};\n"
            f"FLUSH PRIVILEGES;\nCREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON {DATABASE}.* TO {USER}@'%';\n",
        )
        self.jail.run("sh", "-c", f"{' '.join(self._server())} --bootstrap </sql")

    def _server(self) -> Sequence[str]:
        return (
            "/usr/sbin/mariadbd", "--no-defaults", "--user=root", "--basedir=/usr", "--datadir=/data", "--tmpdir=/tmp",
            "--skip-networking=0", "--character-set-server=utf8mb4", "--innodb-flush-log-at-trx-commit=2",
            "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=32M",
            "--innodb-doublewrite=0", "--performance-schema=0",
        )  # fmt: skip

    def command(self) -> Sequence[str]:
        """Small, and careless."""
        return (
            *self._server(), f"--bind-address={LOOPBACK}", f"--port={self.port}", "--socket=/tmp/socket",
            "--pid-file=/tmp/pid", "--skip-name-resolve", "--ssl-cert=/cert.pem", "--ssl-key=/key.pem",
        )  # fmt: skip

    def is_ready(self) -> bool:
        """Whether it greets."""
        return len(self._answers(b"", 5)) == 5


class RedisServer(DatabaseServer):
    """Redis with a user of its own; the default one may nothing.

    Attributes:
        tls_port: Where it encrypts.
    """

    package = "redis-server"

    def __init__(self) -> None:
        super().__init__()
        self.tls_port = free_port()

    @property
    def address(self) -> str:
        """A store in its only database."""
        return f"redis://{USER}:{PASSWORD.replace('/', '%2F')}@{LOOPBACK}:{self.port}/3"

    def make(self) -> None:
        """A folder, and who may log in."""
        self.jail.folder("data")
        self.jail.write("users", f"user default off\nuser {USER} on >{PASSWORD} ~* &* +@all\n")

    def command(self) -> Sequence[str]:
        """Every change is in the log when it is confirmed, so that a killed one has it again; nothing is flushed."""
        return (
            "/usr/bin/redis-server", "--port", str(self.port), "--bind", LOOPBACK, "--dir", "/data", "--save", "",
            "--appendonly", "yes", "--appendfsync", "no", "--aclfile", "/users", "--logfile", "",
            "--tls-port", str(self.tls_port), "--tls-cert-file", "/cert.pem", "--tls-key-file", "/key.pem",
            "--tls-auth-clients", "no", "--tls-ca-cert-file", "/cert.pem",
        )  # fmt: skip

    def is_ready(self) -> bool:
        """Whether it has read its data."""
        return self._answers(f"AUTH {USER} {PASSWORD}\r\nPING\r\n".encode(), 12) == b"+OK\r\n+PONG\r\n"
