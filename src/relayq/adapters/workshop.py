"""``ports.Workshop`` in processes beside the worker.

Matching selectors and rendering templates hold the interpreter's lock, so threads would hold up the loop all the same.
A process costs 36 MB and a quarter of a second to start, so none is started before something needs it, and it is kept.
An order that ends its process, or never ends, takes nobody along: it is tried in a second process, or given up.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections import deque
from collections.abc import Callable
from typing import cast

import msgspec

from relayq.adapters.workshop_process import LENGTHS, decode_outcome, encode_order
from relayq.compose.making import Conversion, Failed, MakingRules, Order, OrderOutcome
from relayq.ports import WorkshopUnavailableError

MAX_SECONDS = 60.0
"""For one order; what it may use of the processor is bounded at a tenth of it, by the process itself."""
MAX_FRAME = 1 << 28
LARGE_OCTETS = 1 << 20
"""Of an order from here on: one of these at a time, since both sides hold the whole of it, before and after."""
_START_SECONDS = 60.0
_MAX_TRIES = 2
_COMMAND = (sys.executable, "-P", "-m", "relayq.adapters.workshop_process")


class _Job:
    """An order and who waits for it."""

    __slots__ = ("future", "is_large", "order", "tries")

    def __init__(self, order: Order | Conversion, future: asyncio.Future[OrderOutcome]) -> None:
        self.order = order
        self.future = future
        self.is_large = _octets_of(order) >= LARGE_OCTETS
        self.tries = 0

    def resolve(self, outcome: OrderOutcome) -> None:
        if not self.future.done():
            self.future.set_result(outcome)


class ProcessWorkshop:
    """Hands orders to processes, first come first served."""

    def __init__(
        self,
        rules: MakingRules,
        size: int,
        loop: asyncio.AbstractEventLoop,
        warn: Callable[[str, str], None],
        *,
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        """Nothing is started yet.

        Args:
            rules: Settings.
            size: Processes at most.
            loop: Where answers arrive.
            warn: Told of a process that ended unasked.
            max_seconds: For one order.
        """
        self._rules = rules
        self._size = size
        self._loop = loop
        self._warn = warn
        self._max_seconds = max_seconds
        self._jobs: deque[_Job] = deque()
        self._processes: set[_Process] = set()
        self._idle: list[_Process] = []
        self._coming = 0  # processes that are not ready yet
        self._starting: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def make(self, order: Order | Conversion) -> OrderOutcome:
        """See ``ports.Workshop``."""
        job = _Job(order, self._loop.create_future())
        if isinstance(order, Conversion):
            self._jobs.appendleft(job)
        else:
            self._jobs.append(job)
        self._assign()
        return await job.future

    def reconfigure(self, rules: MakingRules) -> None:
        """Other rules for the orders to come; processes that know the old ones end once they are idle."""
        if rules == self._rules:
            return
        self._rules = rules
        for process in self._idle:
            self._retire(process)
        self._idle.clear()

    def _retire(self, process: _Process) -> None:
        self._processes.discard(process)
        process.end()

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        self._is_closed = True
        for task in self._starting:
            task.cancel()
        for process in self._processes:
            process.end()
        for job in self._jobs:
            job.future.cancel()
        self._jobs.clear()

    def _assign(self) -> None:
        """Give waiting orders to idle processes; start one more where there is none."""
        while self._idle and (job := self._take_job()) is not None:
            self._idle.pop().begin(job, self._max_seconds)
        if len(self._jobs) > self._coming and len(self._processes) + len(self._starting) < self._size:
            self._coming += 1
            task = self._loop.create_task(self._start(), name="start workshop")
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    def _take_job(self) -> _Job | None:
        """The next one that may begin."""
        has_large = any(process.has_large for process in self._processes)
        passed: list[_Job] = []
        found = None
        while self._jobs and found is None:
            job = self._jobs.popleft()
            if job.future.done():
                continue
            if job.is_large and has_large:
                passed.append(job)
            else:
                found = job
        self._jobs.extendleft(reversed(passed))
        return found

    async def _start(self) -> None:
        try:
            _, process = await self._loop.subprocess_exec(
                lambda: _Process(self),
                *_COMMAND,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=None,
                start_new_session=True,
            )
        except OSError as error:
            self._forget_start()
            self._give_up(f"no process can be started: {error.strerror}")
            return
        self._forget_start()
        self._processes.add(process)
        process.introduce(self._rules)

    def _forget_start(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._starting.discard(task)

    def _give_up(self, reason: str) -> None:
        """One process less; as long as there is another one, whoever waits can go on waiting."""
        self._coming -= 1
        self._warn("compose", reason)
        if self._processes:
            return
        for job in self._jobs:
            if not job.future.done():
                job.future.set_exception(WorkshopUnavailableError(reason))
        self._jobs.clear()

    def is_idle(self, process: _Process) -> None:
        """A process can take the next order."""
        if not process.is_ready:
            process.is_ready = True
            self._coming -= 1
        if process.rules is self._rules:
            self._idle.append(process)
        else:
            self._retire(process)
        self._assign()

    def is_lost(self, process: _Process, job: _Job | None, reason: str) -> None:
        """A process ended; its order gets another one, once."""
        if process not in self._processes:
            return  # it was to end
        self._processes.discard(process)
        if process in self._idle:
            self._idle.remove(process)
        if self._is_closed:
            if job is not None:
                job.future.cancel()
        elif not process.is_ready:
            self._give_up(f"a composing process {reason} before it was ready")
        else:
            self._warn("compose", f"a composing process {reason}")
            if job is not None:
                self._try_again(process, job, reason)
            self._assign()

    def _try_again(self, process: _Process, job: _Job, reason: str) -> None:
        job.tries += 1
        if process.is_too_late or job.tries == _MAX_TRIES:
            job.resolve(Failed(f"mime: the process composing it {reason}"))
        else:
            self._jobs.appendleft(job)


class _Frame:
    """A frame that arrives; see `relayq.adapters.workshop_process`.

    Attributes:
        record: The first part, as far as it is there.
        octets: The second one; a buffer that hands out what is in it without another copy.
    """

    __slots__ = ("_head", "_missing", "octets", "record")

    def __init__(self) -> None:
        self.record = io.BytesIO()
        self.octets = io.BytesIO()
        self._head = b""
        self._missing = [0, 0]

    @property
    def is_complete(self) -> bool:
        """Nothing is missing."""
        return len(self._head) == LENGTHS.size and not any(self._missing)

    @property
    def is_too_large(self) -> bool:
        """More than any message is announced."""
        return max(self._missing) > MAX_FRAME

    def add(self, data: bytes) -> None:
        """The next piece; what is beyond the frame is dropped, for nobody asked for it."""
        if len(self._head) < LENGTHS.size:
            rest = LENGTHS.size - len(self._head)
            self._head += data[:rest]
            data = data[rest:]
            if len(self._head) == LENGTHS.size:
                self._missing = list(LENGTHS.unpack(self._head))
        for place, part in enumerate((self.record, self.octets)):
            piece = data[: self._missing[place]]
            part.write(piece)
            self._missing[place] -= len(piece)
            data = data[len(piece) :]


def _octets_of(order: Order | Conversion) -> int:
    if isinstance(order, Conversion):
        return len(order.octets)
    bodies = sum(len(answer.found.body) for answer in order.answers if answer.found is not None)
    return len(order.mime) + len(order.mime_object or b"") + len(order.data or b"") + bodies


class _Process(asyncio.SubprocessProtocol):
    """One process: an order goes in, its outcome comes out.

    Attributes:
        is_ready: It once was idle.
        is_too_late: It was ended because it took too long.
        rules: What it was told to go by.
    """

    def __init__(self, workshop: ProcessWorkshop) -> None:
        self.is_ready = False
        self.is_too_late = False
        self.rules: MakingRules | None = None
        self._workshop = workshop
        self._job: _Job | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received = _Frame()
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def introduce(self, rules: MakingRules) -> None:
        """Tell it the rules, once its pipes are open."""
        self.rules = rules
        self._keep_time(_START_SECONDS)
        self._write(msgspec.msgpack.encode(rules), b"")

    def begin(self, job: _Job, seconds: float) -> None:
        """Hand over an order."""
        self._job = job
        self._keep_time(seconds)
        self._write(*encode_order(job.order))

    def _keep_time(self, seconds: float) -> None:
        """Expect an answer within so many seconds."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._is_late)

    @property
    def has_large(self) -> bool:
        """It works on a large order."""
        return self._job is not None and self._job.is_large

    def _write(self, record: bytes, octets: bytes) -> None:
        assert self._transport is not None
        pipe = self._transport.get_pipe_transport(0)
        # One that has ended cannot be told anything; `process_exited` follows.
        if pipe is not None and not pipe.is_closing():
            cast("asyncio.WriteTransport", pipe).writelines((LENGTHS.pack(len(record), len(octets)), record, octets))

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        """A piece of an answer."""
        assert isinstance(data, bytes)
        frame = self._received
        frame.add(data)
        if frame.is_too_large:
            self._kill()
        elif frame.is_complete:
            self._received = _Frame()
            self._take(frame)

    def _take(self, frame: _Frame) -> None:
        """An answer is complete."""
        self._stop_timer()
        if self._job is not None:
            try:
                outcome = decode_outcome(frame.record.getvalue(), frame.octets.getvalue())
            except msgspec.DecodeError:
                self._kill()
                return
            self._job.resolve(outcome)
            self._job = None
        self._workshop.is_idle(self)

    def _is_late(self) -> None:
        self._timer = None
        self.is_too_late = True
        self._kill()

    def _kill(self) -> None:
        assert self._transport is not None
        if self._transport.get_returncode() is None:
            self._transport.kill()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def process_exited(self) -> None:
        """It ended."""
        self._stop_timer()
        assert self._transport is not None
        status = self._transport.get_returncode()
        job, self._job = self._job, None
        self._transport.close()
        reason = "took too long" if self.is_too_late else f"ended with status {status}"
        self._workshop.is_lost(self, job, reason)

    def end(self) -> None:
        """End it at once; it holds nothing that could be lost."""
        self._stop_timer()
        self._kill()
