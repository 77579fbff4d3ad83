"""Postgrey, which Postfix asks whether it has seen a sender, a recipient and a client together for long enough.

It is a Perl program: the machine's own Perl runs it, with the modules that were unpacked beside it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port
from tests.support.processes import Process, is_listening
from tests.support.receivers.jail import is_unpacked, unpacked

DELAY_SECONDS = 1
START_SECONDS = 60.0
PERL = shutil.which("perl", path="/usr/bin:/bin") or "perl"


class Postgrey:
    """As a context manager it runs from entry to exit; tells clients apart by their whole address."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="relayq-postgrey-"))
        self._process: Process | None = None

    @staticmethod
    def is_installed() -> bool:
        """Whether ``scripts/install-test-servers`` has put it there."""
        return is_unpacked("postgrey") and Path(PERL).exists()

    @property
    def policy_service(self) -> str:
        """What Postfix is told: ``inet:IP:PORT``."""
        return f"inet:127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        root = unpacked("postgrey")
        modules = [root / "usr/share/perl5", *root.glob("usr/lib/*/perl5/*")]
        for name in ("clients", "recipients"):
            (self._folder / name).touch()
        command = [
            PERL, "-T", *(f"-I{folder}" for folder in modules), str(root / "usr/sbin/postgrey"),
            f"--inet=127.0.0.1:{self.port}", f"--dbdir={self._folder}", "--user=root", "--group=root",
            f"--delay={DELAY_SECONDS}", "--lookup-by-host", "--auto-whitelist-clients=0",
            f"--whitelist-clients={self._folder / 'clients'}", f"--whitelist-recipients={self._folder / 'recipients'}",
        ]  # fmt: skip
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        self._process = Process(command, env=environment, log_file=self._folder / "log", cwd=self._folder)
        try:
            self._process.wait_until(
                lambda: is_listening("127.0.0.1", self.port), timeout=START_SECONDS, what="postgrey"
            )
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
