"""SecantusDB, which speaks MongoDB's protocol and keeps what it has been told through a crash."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from tests.support.stores.process import LOOPBACK, PYTHON_SERVERS, StoreServer

PRUNE = "secantusAdmin.pruneTtl"
"""Command to remove what has expired, as it does by itself once a minute only."""


class Secantus(StoreServer):
    """A single server, no replica set.

    Args:
        options: Its own, such as ``--auth``.
    """

    name = "secantus"

    def __init__(self, *options: str) -> None:
        super().__init__()
        self.options = options
        (self.folder / "secantusd.toml").write_text("", encoding="ascii")  # else it reads one of the machine

    @property
    def address(self) -> str:
        """Of a store in a database of its own."""
        return f"mongodb://{LOOPBACK}:{self.port}/test-{secrets.token_hex(6)}/bodies"

    @staticmethod
    def is_installed() -> bool:
        """Whether its package is there."""
        return (PYTHON_SERVERS / "bin" / "secantusd-py").exists()

    def command(self) -> Sequence[str]:
        program = str(PYTHON_SERVERS / "bin" / "secantusd-py")
        place = ("--host", LOOPBACK, "--port", str(self.port), "--storage-path", str(self.folder / "files"))
        return (program, "--config", "secantusd.toml", *place, "--standalone", "--cache-size", "64M", *self.options)
