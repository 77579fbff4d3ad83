"""``relayq run`` that ends, or freezes, at a named step of the life of one message.

The product has no hooks for this: the method at which a step begins or ends is wrapped from outside, in a process of
its own, which sends itself a signal there. Processes are forked from a *nursery* that has everything imported; it is
told what to start and tells what becomes of it, a line of JSON each.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self

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

PATIENCE = 90.0


class Place(NamedTuple):
    """A method, and whether the step is where a call of it begins or where it has ended.

    Attributes:
        applies: Looks at the arguments behind ``self``; all calls count when it is ``None``.
    """

    owner: type
    method: str
    is_after: bool
    applies: Callable[..., bool] | None = None


def _is_mail_from(pieces: list[bytes]) -> bool:
    return pieces[0].startswith(b"MAIL FROM")


def _settles(changes: Sequence[Any], _claims: Sequence[Any]) -> bool:
    return any(change.item_id is not None and not change.gives_back for change in changes)


PLACES = {
    "picked up": Place(Scheduler, "_judge", is_after=False),
    "content loaded": Place(Pipeline, "_load", is_after=True),
    "envelope sent": Place(Session, "_write", is_after=True, applies=_is_mail_from),
    "content due": Place(FileJournal, "note_sending", is_after=False),
    "content noted": Place(FileJournal, "note_sending", is_after=True),
    "reply read": Place(Publisher, "_note_decided", is_after=False),
    "outcome noted": Place(Publisher, "_note_decided", is_after=True),
    "content stored": Place(Bodies, "save", is_after=True),
    "published": Place(RabbitMqPublisher, "take_confirm", is_after=False),
    "confirmed": Place(ConsumerChannel, "finish", is_after=False),
    "uncommitted": Place(EmbeddedBroker, "settle", is_after=False),
    "committed": Place(EmbeddedBroker, "_committed", is_after=False, applies=_settles),
    "acknowledged": Place(Bodies, "delete", is_after=False),
}


def _cut(place: Place, number: int) -> None:
    """Let the first call that applies send a signal to this process."""
    found = inspect.getattr_static(place.owner, place.method)
    is_static = isinstance(found, staticmethod)
    original: Callable[..., Any] = found.__func__ if isinstance(found, staticmethod) else found
    pending = [True]

    def strike(arguments: Sequence[Any]) -> None:
        if pending and (place.applies is None or place.applies(*(arguments if is_static else arguments[1:]))):
            pending.clear()
            os.kill(os.getpid(), number)

    @functools.wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if not place.is_after:
            strike(arguments)
        result = original(*arguments, **named)
        if place.is_after:
            strike(arguments)
        return result

    @functools.wraps(original)
    async def wrapped_async(*arguments: Any, **named: Any) -> Any:
        if not place.is_after:
            strike(arguments)
        result = await original(*arguments, **named)
        if place.is_after:
            strike(arguments)
        return result

    chosen: Any = wrapped_async if inspect.iscoroutinefunction(original) else wrapped
    setattr(place.owner, place.method, staticmethod(chosen) if is_static else chosen)


# --- the nursery's side ---------------------------------------------------------------------------------------------


def _live(order: dict[str, Any]) -> NoReturn:
    """The life of a child."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        descriptor = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(descriptor, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if order["place"] is not None:
            _cut(PLACES[order["place"]], order["signal"])
        words = ["--smtp-threads=1", *(f"--{option}" for option in order["options"])]

        def load_settings() -> Settings:
            return load(parse_options(words), environ={}, no_default_config=True)

        code = uvloop.run(supervise(load_settings(), load_settings))
    finally:
        os._exit(code)


def _tell(pid: int, **fact: object) -> None:
    sys.stdout.write(json.dumps({"pid": pid, **fact}) + "\n")
    sys.stdout.flush()


def _reap(children: set[int]) -> None:
    """Tell who ended or stopped."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return
        if os.WIFSTOPPED(status):
            _tell(pid, stopped=True)
        else:
            children.discard(pid)
            _tell(pid, code=os.waitstatus_to_exitcode(status))


def nursery() -> None:
    """Start what standard input asks for, until it ends; then nothing is left."""
    gc.collect()
    gc.freeze()  # children's collectors would touch, and so copy, every object there is
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    children: set[int] = set()
    buffer = b""
    while True:
        ready = select.select([0, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _reap(children)
        if 0 in ready:
            data = os.read(0, 65_536)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if not pid:
                    _live(json.loads(line))
                children.add(pid)
                _tell(pid, started=json.loads(line)["name"])
    for pid in children:
        os.kill(pid, signal.SIGKILL)


# --- the test's side ------------------------------------------------------------------------------------------------


class DyingWorker:
    """One process."""

    def __init__(self, log: Path) -> None:
        self.pid = 0
        self._log = log
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._ended = asyncio.Event()
        self._code = 0

    def told(self, fact: dict[str, Any]) -> None:
        """What the nursery says about it."""
        self.pid = fact["pid"]
        self._started.set()
        if "stopped" in fact:
            self._stopped.set()
        if "code" in fact:
            self._code = fact["code"]
            self._ended.set()

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def _wait(self, event: asyncio.Event, what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await event.wait()
        except TimeoutError:
            raise AssertionError(f"process {self.pid} has not {what}:\n{self.log}") from None

    async def started(self) -> None:
        """Wait until it has a process id."""
        await self._wait(self._started, "started")

    async def frozen(self) -> None:
        """Wait until it stopped at its step."""
        await self._wait(self._stopped, "stopped at its step")

    async def ended(self) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        await self._wait(self._ended, "ended")
        return self._code

    async def stop(self) -> int:
        """Stop it in order; the exit code."""
        self.send(signal.SIGTERM)
        return await self.ended()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.pid and not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Nursery:
    """Starts workers quickly: ``async with Nursery() as nursery``."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process
        self._listening: asyncio.Task[None]
        self._by_name: dict[str, DyingWorker] = {}
        self._by_pid: dict[int, DyingWorker] = {}

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._listening

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            fact = json.loads(line)
            if "started" in fact:
                self._by_pid[fact["pid"]] = self._by_name[fact["started"]]
            self._by_pid[fact["pid"]].told(fact)

    async def start(
        self, options: Sequence[str], log: Path, place: str | None = None, *, freezes: bool = False
    ) -> DyingWorker:
        """Start a worker.

        Args:
            options: Settings as ``key=value``.
            log: Where its output goes.
            place: Step at which it ends, ``None`` to live until it is told to stop.
            freezes: It stops there (``SIGSTOP``) and can go on, instead of ending.
        """
        worker = DyingWorker(log)
        name = f"worker {len(self._by_name) + 1}"
        self._by_name[name] = worker
        number = signal.SIGSTOP if freezes else signal.SIGKILL
        order = {"name": name, "options": list(options), "log": str(log), "place": place, "signal": int(number)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await worker.started()
        return worker


if __name__ == "__main__":
    nursery()
