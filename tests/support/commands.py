"""Commands of ``relayq``, run in this process or as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from relayq.cli.main import main


class Commands:
    """Runs commands against one broker."""

    def __init__(self, address: str) -> None:
        self.settings = ["--no-default-config", f"--rabbitmq-address={address}", "--hostname=host.example"]

    def words(self, *words: str) -> list[str]:
        """A command with the settings, then the rest of its words."""
        return [words[0], *self.settings, *words[1:]]

    def line(self, *words: str) -> list[str]:
        """A whole command line, for a process of its own."""
        return [sys.executable, "-m", "relayq", *self.words(*words)]

    def run(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run one to its end, in the main thread of this process."""
        done = run_here(self.words(*words), given)
        assert b"Traceback" not in done.stderr
        return done

    def succeed(self, *words: str, given: bytes = b"") -> bytes:
        """Run one that has nothing to complain about; its output."""
        done = self.run(*words, given=given)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start one as a process."""
        return subprocess.Popen(self.line(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run_here(words: list[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """What a process with these words would do, without the second that its start takes.

    Commands read and write file descriptors, so these are exchanged and not only ``sys.stdout``. There is no terminal.
    ``run`` has to have one worker: several would be forked from this process, threads and all.
    """
    assert words[0] != "run" or "--smtp-threads=1" in words, "workers would be forked from this process"
    with ExitStack() as stack:
        source, output, errors = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        source.write(given)
        source.seek(0)
        with _standard_streams(source, output, errors):
            code = main(words)
        written = []
        for stream in (output, errors):
            stream.seek(0)
            written.append(stream.read())
    return subprocess.CompletedProcess(words, code, *written)


@contextmanager
def _standard_streams(*files: BinaryIO) -> Iterator[None]:
    names = ("stdin", "stdout", "stderr")
    kept_objects = [getattr(sys, name) for name in names]
    for stream in kept_objects[1:]:
        stream.flush()
    kept = [os.dup(number) for number in range(3)]
    try:
        for number, (name, file) in enumerate(zip(names, files, strict=True)):
            os.dup2(file.fileno(), number)
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        yield
    finally:
        for name, before in zip(names, kept_objects, strict=True):
            getattr(sys, name).close()
            setattr(sys, name, before)
        for number, descriptor in enumerate(kept):
            os.dup2(descriptor, number)
            os.close(descriptor)
