"""Commands of ``relayq`` as processes."""

from __future__ import annotations

import subprocess
import sys


class Commands:
    """Runs commands against one broker."""

    def __init__(self, address: str) -> None:
        self.settings = ["--no-default-config", f"--rabbitmq-address={address}", "--hostname=host.example"]

    def line(self, *words: str) -> list[str]:
        """A whole command line."""
        return [sys.executable, "-m", "relayq", words[0], *self.settings, *words[1:]]

    def run(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run one to its end."""
        done = subprocess.run(self.line(*words), input=given, capture_output=True, timeout=60, check=False)
        assert b"Traceback" not in done.stderr
        return done

    def succeed(self, *words: str, given: bytes = b"") -> bytes:
        """Run one that has nothing to complain about; its output."""
        done = self.run(*words, given=given)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start one."""
        return subprocess.Popen(self.line(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
