"""One place for a worker process: starts it, talks to it, sees its end, and starts the next one after a while."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from relayq.adapters.figures import Figures, State, add_up, is_lasting
from relayq.supervisor.channel import Channel
from relayq.supervisor.messages import Failed, FromWorker, Setup, Started, Status, ToWorker
from relayq.supervisor.spawn import ChildProcess, Spawned, spawn

BACKOFF = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds until a worker that died is started again, by how often it did (spec operations.md 20)."""
STEADY_SECONDS = 60.0
"""A worker that ran this long did not die of its start."""
SILENT_SECONDS = 60.0
"""A worker from which nothing is heard for so long hangs; it reports once a second."""
LINGER_SECONDS = 10.0
"""What a process may take to end after it said goodbye, or was told to abort."""


class Slot:
    """One worker after the other, never two at a time.

    Attributes:
        number: 1 for the first.
        restarts: How many died here.
        failed_code: Exit code with which the last one said that it cannot start, else ``None``.
        has_started: The present one has begun to consume.
        ever_started: Some one has.
        deaths: How many died in a row before they had run for a while.
    """

    def __init__(
        self,
        number: int,
        setup: Callable[[int], Setup],
        on_message: Callable[[Slot, FromWorker], None],
        on_end: Callable[[Slot, str], None],
    ) -> None:
        """Not started.

        Args:
            number: 1 for the first.
            setup: Makes the first message for a worker, by number.
            on_message: Told what a worker says, except what concerns only this object.
            on_end: Told that the process is gone, all it said was heard, and how it ended, for people.
        """
        self.number = number
        self.failed_code: int | None = None
        self.has_started = False
        self.ever_started = False
        self.restarts = 0
        self.deaths = 0
        self._make_setup = setup
        self._on_message = on_message
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._process: ChildProcess | None = None
        self._pidfd = -1
        self._channel: Channel[FromWorker] | None = None
        self._is_line_over = True
        self._is_stopping = False
        self._started_at = 0.0
        self._heard_at = 0.0
        self._status = Status(State.STARTING, {}, "nothing yet")
        self._retired: Figures = {}
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[None] | None = None

    # --- what it is doing ---------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """There is a process."""
        return self._process is not None

    @property
    def is_over(self) -> bool:
        """There is no process and there will be none."""
        return self._process is None and self._timer is None

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._process.pid if self._process is not None else None

    @property
    def state(self) -> State:
        """As of the last report."""
        if self._process is None:
            return State.STARTING
        return State.STOPPING if self._is_stopping else State(self._status.state)

    def figures(self) -> Figures:
        """What the workers of this place have counted."""
        return add_up((self._retired, self._status.figures))

    def summary(self) -> str:
        """For people."""
        pid = self.pid
        place = f"process {pid}, {self.state}" if pid else "no process"
        return f"worker {self.number} ({place}): {self._status.summary}"

    # --- starting -----------------------------------------------------------------------------------------------------

    def start(self, spawned: Spawned | None = None) -> None:
        """Start a process, or use the one given; whether that works is told later."""
        self._timer = None
        self.failed_code = None
        self.has_started = self._is_stopping = False
        self._status = Status(State.STARTING, {}, "nothing yet")
        self._started_at = self._heard_at = self._loop.time()
        try:
            self._process, ours = spawned or spawn()
        except OSError as error:
            self._loop.call_soon(self._on_end, self, f"cannot be started: {error.strerror}")
            return
        try:
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError as error:
            ours.close()
            self._process.kill()
            self._process.wait()
            self._process = None
            self._loop.call_soon(self._on_end, self, f"cannot be watched: {error.strerror}")
            return
        self._loop.add_reader(self._pidfd, self._process_ended)
        ours.setblocking(False)
        self._channel = Channel(FromWorker, self._received, self._line_ended)
        self._is_line_over = False
        self._channel.send(self._make_setup(self.number))
        self._opening = self._loop.create_task(self._channel.open(ours))

    def start_again(self) -> float:
        """Start the next one after a while; returns the seconds until then."""
        self.restarts += 1
        if self.failed_code is None and self._loop.time() - self._started_at >= STEADY_SECONDS:
            self.deaths = 0
        seconds = BACKOFF[min(self.deaths, len(BACKOFF) - 1)]
        self.deaths += 1
        self._timer = self._loop.call_later(seconds, self.start)
        return seconds

    # --- ending -------------------------------------------------------------------------------------------------------

    def stop(self, message: ToWorker, patience: float) -> None:
        """Tell the worker to end, and end it after ``patience`` seconds; start no other."""
        self._is_stopping = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._process is not None:
            self.send(message)
            self._timer_to_kill(patience)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the process a signal."""
        if self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, number)

    def end_if_silent(self, now: float) -> bool:
        """End a process from which nothing was heard for long; true if it was told to end just now."""
        if self._process is None or self._heard_at + SILENT_SECONDS > now:
            return False
        self._heard_at = now
        self.kill(signal.SIGABRT)
        self._timer_to_kill(LINGER_SECONDS)
        return True

    def _timer_to_kill(self, seconds: float) -> None:
        process = self._process

        def kill() -> None:
            if self._process is process:
                self.kill()

        self._loop.call_later(seconds, kill)

    def _process_ended(self) -> None:
        """The kernel says that the process is gone; what it said before that may still be on its way."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        assert self._process is not None
        self._process.wait()
        if self._is_line_over:
            self._ended()

    def _line_ended(self, error: Exception | None) -> None:
        """The process has said all it will say, or says things nobody understands."""
        self._is_line_over = True
        if self._pidfd < 0:
            self._ended()
        else:
            self._timer_to_kill(0.0 if error is not None else LINGER_SECONDS)

    def _ended(self) -> None:
        process, self._process = self._process, None
        assert process is not None
        code = process.wait()
        self._channel = None
        lasting = {name: value for name, value in self._status.figures.items() if is_lasting(name)}
        self._retired = add_up((self._retired, lasting))
        self._status = Status(State.STARTING, {}, self._status.summary)
        self._on_end(self, _describe(code))

    # --- talking ------------------------------------------------------------------------------------------------------

    def send(self, message: ToWorker) -> None:
        """Tell the worker; nothing happens when there is none."""
        if self._channel is not None:
            self._channel.send(message)

    def _received(self, message: FromWorker) -> None:
        self._heard_at = self._loop.time()
        match message:
            case Status():
                self._status = message
            case Failed():
                self.failed_code = message.exit_code
                return
            case Started():
                self.has_started = self.ever_started = True
        self._on_message(self, message)


def _describe(code: int) -> str:
    """An exit code for people."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
