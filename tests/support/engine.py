"""A worker in the test's own process: memory broker, memory resolver, real sockets, scripted servers.

::

    async with Engine("smtp-out-timeout-ehlo=0.2") as engine:
        await engine.serve(opening() + transaction())
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).kind == "success"

Leaving the block stops the worker and then proves that nothing was lost and nothing leaked: every message has a result
or is back in the broker, no task, session, waiter or count is left over, no internal error was caught. The servers live
until after that.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import relayq
from relayq.adapters.clock import SystemClock
from relayq.adapters.memory import MemoryBroker, MemoryResolver, RecordingObserver
from relayq.app import Worker, World
from relayq.config import Settings, load, parse_options
from relayq.ports import Clock, MessageStore, Properties, Publication, QueueRole
from relayq.trial import ReceivedMessage, Sink
from tests.support.ports import free_port
from tests.support.scripted_server import ScriptedServer, Step

PRODUCT = str(Path(relayq.__file__).parent)
PATIENCE = 90.0
LOOK_SECONDS = 0.002
SHOWN_OCTETS = 60
OUTBOX = "outbox"
RESULT_QUEUES = ("results", "success", "failure", "retry")
DOMAIN = "example.test"
MIME = "From: n@shop.test\r\nSubject: hello\r\n\r\nHello.\r\n"

DEFAULT_OPTIONS = (
    "hostname=mta.test",
    "rabbitmq-outbox=outbox",
    "rabbitmq-results=results",
    "rabbitmq-success=success",
    "rabbitmq-failure=failure",
    "rabbitmq-retry=retry",
    "smtp-out-timeout-quit=0.2",
    "smtp-out-security=optional",
    "shutdown-timeout=5",
    "journal-directory=",
)
"""Other time limits keep their long defaults, so that a slow machine never meets one; a test shortens its own."""


def mail(ident: str, **members: Any) -> dict[str, Any]:
    """A message with the custom property ``id``; a member given as ``None`` is left out."""
    message = {"envelope": "b@shop.test", "recipient": f"anna@{DOMAIN}", "id": ident, "mime": MIME, **members}
    return {name: value for name, value in message.items() if value is not None}


def parse_at(text: str) -> datetime:
    """Instant of a timestamp in a message."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text), text
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


async def eventually(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait until ``condition`` holds, looking again every few milliseconds."""
    give_up_at = time.monotonic() + patience
    while not condition():
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {patience:g} s: {what}")
        await asyncio.sleep(LOOK_SECONDS)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What was published about one message.

    Attributes:
        copies: Publications by queue, oldest first; the message as the test published it is not among them.
    """

    copies: dict[str, list[Publication]]

    @property
    def queues(self) -> Counter[str]:
        """How many copies each queue got."""
        return Counter({queue: len(copies) for queue, copies in self.copies.items()})

    @property
    def kind(self) -> str:
        """``success``, ``failure``, ``retry`` or ``waiting``, as the queues of the last publication say."""
        for kind in ("success", "failure", "retry"):
            if self.copies.get(kind):
                return kind
        return "waiting"

    def body(self, queue: str) -> dict[str, Any]:
        """The newest copy in a queue."""
        decoded: dict[str, Any] = json.loads(self.copies[queue][-1].body)
        return decoded

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """The array ``results`` of the newest copy."""
        queue = next(queue for queue in ("success", "failure", "retry", *self.copies) if self.copies.get(queue))
        attempts: list[dict[str, Any]] = self.body(queue).get("results", [])
        return attempts

    @property
    def last(self) -> dict[str, Any]:
        """The newest result object."""
        return self.attempts[-1]

    @property
    def cell(self) -> tuple[str, str]:
        """State and result of the newest attempt."""
        return self.last["state"], self.last["result"]


class Engine:
    """One worker and everything around it.

    Attributes:
        port: Where all mail hosts listen.
        broker: Its broker.
        resolver: Its DNS; ``example.test`` has one mail host, 127.0.0.1.
        observer: What it reported.
        worker: Itself.
        may_crash: Internal errors are part of the test.
        may_lose: Messages may end without a trace (no queues configured).
    """

    def __init__(
        self,
        *options: str,
        tweaks: dict[str, Any] | None = None,
        clock: Clock | None = None,
        is_started: bool = True,
        network: Any = None,
        store: MessageStore | None = None,
        ident: str = "id",
    ) -> None:
        """Nothing runs yet.

        Args:
            options: Settings as ``key=value``, on top of the usual ones.
            tweaks: Values the configuration would refuse, by ``record.field``.
            clock: Default: the system's.
            is_started: Consume as soon as the block is entered.
            network: Default: real sockets.
            store: Default: what the options say, without any none.
            ident: Member that tells messages apart.
        """
        self.ident = ident
        self.port = free_port("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
        self.clock = clock or SystemClock()
        self.resolver = MemoryResolver(self.clock)
        self.observer = RecordingObserver()
        self.may_crash = False
        self.may_lose = False
        self.worker: Worker
        self.broker: MemoryBroker
        self._settings = settings_for(self.port, options, tweaks or {})
        self._is_started = is_started
        self._network = network
        self._store = store
        self._stack = AsyncExitStack()
        self._given: dict[int, Publication] = {}
        self._budget = 0
        self._is_stopped = False
        self.route(DOMAIN, (10, "mx.example.test", "127.0.0.1"))

    # --- the world around it ----------------------------------------------------------------------------------------

    def route(self, domain: str, *hosts: tuple[Any, ...]) -> None:
        """Give a domain mail hosts: preference, name, addresses."""
        self.resolver.set_mx(domain, [(preference, name) for preference, name, *_ in hosts])
        for _, name, *addresses in hosts:
            self.resolver.set_addresses(name, *addresses)

    async def serve(self, *scripts: Sequence[Step], address: str = "127.0.0.1", strict: bool = True) -> ScriptedServer:
        """A scripted mail host; it lives as long as the engine."""
        server = ScriptedServer(*scripts, host=address, port=self.port, strict=strict)
        return await self._stack.enter_async_context(server)

    async def sink(
        self, address: str = "127.0.0.1", *, on_message: Callable[[ReceivedMessage], None] | None = None
    ) -> Sink:
        """A mail host that accepts everything; it lives as long as the engine."""
        return await self._stack.enter_async_context(Sink(address, self.port, on_message=on_message))

    async def serve_silence(self, address: str = "127.0.0.1") -> None:
        """An address on which a TCP connection is never set up: its listener's queue is full."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, self.port))
        listener.listen(0)
        self._stack.callback(listener.close)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((address, self.port))
            self._stack.callback(filler.close)

    # --- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.worker = Worker(
            self._settings,
            observer=self.observer,
            world=World(
                resolver=self.resolver,
                network=self._network,
                broker=lambda listener: MemoryBroker(self.clock, listener),
                clock=self.clock,
                store=self._store,
            ),
        )
        assert isinstance(self.worker.broker, MemoryBroker)
        self.broker = self.worker.broker
        self._budget = self.worker.scheduler._pool._budget.allowance.free
        if self._is_started:
            await self.worker.start()
        return self

    async def start(self) -> None:
        """Begin to consume."""
        await self.worker.start()

    async def stop(self) -> None:
        """Stop the worker in order; done by leaving the block too."""
        if not self._is_stopped:
            self._is_stopped = True
            async with asyncio.timeout(PATIENCE):
                await self.worker.stop()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
            if error is None:
                await eventually(lambda: not _tasks_of_ours(), f"tasks are left: {_tasks_of_ours()}")
                self.check()
        finally:
            await self._stack.aclose()

    # --- messages ---------------------------------------------------------------------------------------------------

    async def send(self, *messages: dict[str, Any] | bytes, properties: Properties | None = None) -> None:
        """Publish to the outbox."""
        publications = [
            Publication(
                queue=OUTBOX,
                body=message if isinstance(message, bytes) else json.dumps(message, separators=(",", ":")).encode(),
                properties=properties or Properties(),
                role=QueueRole.OUTBOX,
                is_verbatim=properties is not None and properties.content_encoding is not None,
            )
            for message in messages
        ]
        self._given |= {id(publication): publication for publication in publications}
        await self.broker.publish(publications)

    def given(self, ident: object) -> Publication:
        """The message as the test published it."""
        return next(publication for publication in self._given.values() if self._ident(publication) == ident)

    def published(self, ident: object = None) -> Outcome:
        """Everything published so far about the message with that ``id``, or about all."""
        needle = None if ident is None else json.dumps(ident).encode()
        copies: dict[str, list[Publication]] = {}
        for publication in self.broker.published:
            if id(publication) in self._given or (needle is not None and needle not in publication.body):
                continue
            if ident is None or json.loads(publication.body).get(self.ident) == ident:
                copies.setdefault(publication.queue, []).append(publication)
        return Outcome(copies)

    async def outcome(self, ident: object = None, *, attempts: int = 1, patience: float = PATIENCE) -> Outcome:
        """What was published about a message, once ``attempts`` of it are done."""
        seen = -1
        found = Outcome({})

        def is_there() -> bool:
            nonlocal seen, found
            if len(self.broker.published) == seen:
                return False
            seen = len(self.broker.published)
            found = self.published(ident)
            return bool(found.copies) and len(found.attempts) >= attempts

        await eventually(is_there, f"{attempts} attempt(s) of {ident}; so far {found}", patience)
        return found

    async def waiting(self, ident: str) -> Outcome:
        """What was published about a message that went back without an attempt."""
        await eventually(lambda: OUTBOX in self.published(ident).copies, f"{ident} goes back to the outbox")
        return self.published(ident)

    # --- proofs -----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing is lost, nothing is left over."""
        if not self.may_crash:
            assert not self.observer.crashes, self.observer.crashes
        scheduler = self.worker.scheduler
        assert (scheduler.held, scheduler._held_bytes) == (0, 0)
        assert not scheduler._tasks
        assert not scheduler._waiting_due
        assert not scheduler._not_started
        assert len(scheduler._admission) == 0
        self.check_lanes()
        for lane in scheduler._pool._lanes.values():
            assert (lane._open, lane._starting, len(lane._sessions)) == (0, 0, 0), lane.route
            assert not lane._waiters
            assert not lane._fresh_waiters
        assert scheduler._pool._budget.allowance.free == self._budget
        assert not self.broker.unsettled
        if not self.may_lose:
            self._check_nothing_lost()

    def check_lanes(self) -> None:
        """The counts of every lane agree with each other at any moment."""
        for lane in self.worker.scheduler._pool._lanes.values():
            check_lane(lane)

    def _check_nothing_lost(self) -> None:
        """Every message given is still in the broker or has a final result; the same body may be given twice."""
        given = Counter(map(self._ident, self._given.values()))
        waiting = [*self.broker.ready(OUTBOX), *self.broker.delayed(OUTBOX), *self.broker.parked()]
        kept = Counter(map(self._ident, waiting))
        done = Counter(self._ident(publication) for publication in self.broker.published if _is_final(publication))
        for ident, count in given.items():
            assert kept[ident] + done[ident] >= count, f"{ident} is lost"

    def _ident(self, publication: Publication) -> object:
        """What tells a message from others: its ``id``, or the beginning of its body if it is no message."""
        body = publication.body
        try:
            decoded = json.loads(body)
        except ValueError:
            decoded = None
        if isinstance(decoded, dict):
            if "invalid-body" in decoded:
                body = decoded["invalid-body"].encode()
                if decoded.get("invalid-encoding") == "base64":
                    body = base64.b64decode(body)
            elif self.ident in decoded:
                return decoded[self.ident]
        return body[:SHOWN_OCTETS]


def check_lane(lane: Any) -> None:
    """Counts of a lane agree; ``_idle`` sessions are open, once each, and nobody has them."""
    assert lane._open == lane._starting + len(lane._sessions), lane.route
    assert lane._starting >= 0
    assert len(set(lane._idle)) == len(lane._idle)
    assert lane._sessions.issuperset(lane._idle)
    assert lane._sessions.issuperset(lane._proven)
    assert not any(session.is_leased for session in lane._idle)
    assert (lane in lane._budget.idle_lanes) == bool(lane._idle)


def open_sockets() -> int:
    """Sockets of this process; loops open other descriptors when they please."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists the directory
            count += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    return count


def _is_final(publication: Publication) -> bool:
    if publication.queue == "results":
        return True
    return publication.queue not in (OUTBOX, *RESULT_QUEUES)


def settings_for(port: int, options: Sequence[str], tweaks: dict[str, Any]) -> Settings:
    arguments = [f"--{option}" for option in (f"smtp-out-port={port}", *DEFAULT_OPTIONS, *options)]
    settings = load(parse_options(arguments), environ={}, no_default_config=True)
    for path, value in tweaks.items():
        record_name, field_name = path.split(".")
        record = dataclasses.replace(getattr(settings, record_name), **{field_name: value})
        settings = dataclasses.replace(settings, **{record_name: record})
    return settings


def _tasks_of_ours() -> list[str]:
    """Tasks whose code is the product's."""
    names = []
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and code.co_filename.startswith(PRODUCT):
            names.append(code.co_qualname)
    return names
