"""``relayq run`` that ends, or freezes, at a named step of the life of one message.

The product has no hooks for this: the method at which a step begins or ends is wrapped from outside, in a process of
its own, which kills itself there as ``kill -9`` would. Processes are forked from one that has everything imported.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from relayq.adapters.embedded.broker import EmbeddedBroker
from relayq.adapters.journal import FileJournal
from relayq.adapters.rabbitmq.consumer import ConsumerChannel
from relayq.adapters.rabbitmq.publisher import Publisher as RabbitMqPublisher
from relayq.config import Settings, load, parse_options
from relayq.delivery.bodies import Bodies
from relayq.delivery.pipeline import Pipeline
from relayq.delivery.publisher import Publisher
from relayq.delivery.scheduler import Scheduler
from relayq.delivery.session import Session
from relayq.supervisor.server import supervise

_STARTED = multiprocessing.get_context("forkserver")
_STARTED.set_forkserver_preload([__name__])


class Place(NamedTuple):
    """A method, and whether its call begins (or ended) there.

    Attributes:
        applies: Looks at the arguments without ``self``; all calls count when it is ``None``.
    """

    owner: type
    method: str
    is_after: bool
    applies: Callable[..., bool] | None = None


def _is_mail_from(octets: bytes) -> bool:
    return octets.startswith(b"MAIL FROM")


PLACES = {
    "picked up": Place(Scheduler, "_judge", is_after=False),
    "loaded": Place(Pipeline, "_load", is_after=True),
    "mail from": Place(Session, "_write", is_after=True, applies=_is_mail_from),
    "before the dot": Place(FileJournal, "note_sending", is_after=False),
    "dot noted": Place(FileJournal, "note_sending", is_after=True),
    "reply read": Place(Publisher, "_note_decided", is_after=False),
    "outcome noted": Place(Publisher, "_note_decided", is_after=True),
    "content stored": Place(Bodies, "save", is_after=True),
    "unconfirmed": Place(RabbitMqPublisher, "take_confirm", is_after=False),
    "confirmed": Place(ConsumerChannel, "finish", is_after=False),
    "uncommitted": Place(EmbeddedBroker, "settle", is_after=False),
    "committed": Place(EmbeddedBroker, "_committed", is_after=False, applies=lambda changes, _: any(
        change.item_id is not None and not change.gives_back for change in changes
    )),
    "acknowledged": Place(Bodies, "delete", is_after=False),
}  # fmt: skip


def _cut(place: Place, number: int) -> None:
    """Let the first call that applies send a signal to this process."""
    original = inspect.getattr_static(place.owner, place.method)
    function = original.__func__ if isinstance(original, staticmethod) else original
    is_static = isinstance(original, staticmethod)
    pending = [True]

    def strike(arguments: Sequence[Any]) -> None:
        if pending and (place.applies is None or place.applies(*(arguments if is_static else arguments[1:]))):
            pending.clear()
            os.kill(os.getpid(), number)

    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if not place.is_after:
            strike(arguments)
        result = function(*arguments, **named)
        if place.is_after:
            strike(arguments)
        return result

    @functools.wraps(function)
    async def wrapped_async(*arguments: Any, **named: Any) -> Any:
        if not place.is_after:
            strike(arguments)
        result = await function(*arguments, **named)
        if place.is_after:
            strike(arguments)
        return result

    chosen: Any = wrapped_async if inspect.iscoroutinefunction(function) else wrapped
    setattr(place.owner, place.method, staticmethod(chosen) if is_static else chosen)


def _run(options: Sequence[str], log: str, place: str | None, number: int) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if place is not None:
        _cut(PLACES[place], number)
    words = ["--smtp-threads=1", *(f"--{option}" for option in options)]

    def load_settings() -> Settings:
        return load(parse_options(words), environ={}, no_default_config=True)

    raise SystemExit(uvloop.run(supervise(load_settings(), load_settings)))


class DyingWorker:
    """One process; started at once."""

    def __init__(self, options: Sequence[str], log: Path, place: str | None = None, *, freezes: bool = False) -> None:
        """Start it.

        Args:
            options: Settings as ``key=value``.
            log: Where its output goes.
            place: Step at which it ends, ``None`` to live until it is told to stop.
            freezes: It stops there (``SIGSTOP``) and can go on, instead of ending.
        """
        self.log_path = log
        number = signal.SIGSTOP if freezes else signal.SIGKILL
        self._process: BaseProcess = ForkServerProcess(
            target=_run, args=(tuple(options), str(log), place, int(number)), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_frozen(self) -> bool:
        """Whether it stopped at its step."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0] == "T"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self) -> None:
        """End it with SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    async def ended(self, seconds: float = 30.0) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        await asyncio.to_thread(self._process.join, seconds)
        assert self._process.exitcode is not None, f"still running:\n{self.log}"
        return self._process.exitcode

    async def stop(self) -> int:
        """Stop it in order; the exit code."""
        if self._process.is_alive():
            os.kill(self.pid, signal.SIGTERM)
        return await self.ended()

    def close(self) -> None:
        """Never leave it behind."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join(5)
