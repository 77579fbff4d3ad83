"""The running server."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import Process, is_listening
from tests.support.receivers.certificates import Certificates
from tests.support.receivers.jail import is_unpacked, unpacked

HOSTNAME = "mx.haraka.test"
SIZE_LIMIT = 1_500_000
LOGIN = ("anna", "s3cret pass")
START_SECONDS = 60.0

# It replaces the package's own file as a whole. Longer lines than data_line_length would be broken.
_CONNECTION = f"""\
[main]
smtputf8=true
[haproxy]
hosts[] =
[headers]
add_received=true
max_lines=1000
max_received=100
[max]
bytes={SIZE_LIMIT}
mime_parts=1000
line_length=512
data_line_length=100000
[message]
helo=Hello
close=Bye
[uuid]
banner_chars=6
deny_chars=0
"""

PLAIN = "127.0.41.1"
OTHER = "127.0.41.2"
ADDRESSES = (PLAIN, OTHER)


class Haraka:
    """Takes mail for local parts that begin with ``u``, under TLS too, and after a login for everybody.

    Attributes:
        port: Of every address.
    """

    package = "haraka"

    def __init__(self, port: int, certificates: Certificates) -> None:
        self.port = port
        self._certificates = certificates
        self._folder = Path(tempfile.mkdtemp(prefix="relayq-haraka-"))
        self._process: Process | None = None

    @classmethod
    def is_installed(cls) -> bool:
        """Whether Node.js and the packages are there."""
        return is_unpacked(cls.package) and shutil.which("node") is not None

    def messages(self) -> tuple[bytes, ...]:
        """Everything taken, oldest first: two lines about the envelope, then the octets as they came."""
        files = [file for file in (self._folder / "mail").iterdir() if not file.name.startswith(".")]
        return tuple(file.read_bytes() for file in sorted(files, key=lambda file: file.stat().st_mtime_ns))

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            ServerNotReady: It ended, or did not listen in time; its output is in the message.
        """
        self._configure()
        self._process = Process(
            [str(unpacked(self.package) / "node_modules/.bin/haraka"), "-c", str(self._folder)],
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._folder)},
            log_file=self._folder / "output",
            cwd=self._folder,
        )
        self._process.wait_until(
            lambda: all(is_listening(address, self.port) for address in ADDRESSES),
            timeout=START_SECONDS,
            what=self.package,
        )

    def _configure(self) -> None:
        config = self._folder / "config"
        config.mkdir()
        (self._folder / "mail").mkdir()
        shutil.copytree(Path(__file__).with_name("plugins"), self._folder / "plugins")
        shutil.copy(Path(__file__).with_name("dhparams.pem"), config)
        pem = self._certificates.issue(HOSTNAME, "*.mx.haraka.test")
        listen = ",".join(f"{address}:{self.port}" for address in ADDRESSES)
        for name, text in {
            "me": HOSTNAME,
            "plugins": "tls\nauth/flat_file\nstore",
            "smtp.ini": f"listen={listen}\nnodes=0\nforce_shutdown_timeout=1",
            "connection.ini": _CONNECTION,
            "auth_flat_file.ini": f"[core]\nmethods=CRAM-MD5\nconstrain_sender=false\n[users]\n{LOGIN[0]}={LOGIN[1]}",
            "tls.ini": "dhparam=dhparams.pem",
            "tls_key.pem": pem,
            "tls_cert.pem": pem,
            "log.ini": "level=NOTICE",
        }.items():
            (config / name).write_text(f"{text}\n")

    def close(self) -> None:
        """End the process and remove what it kept."""
        if self._process is not None:
            self._process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

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
