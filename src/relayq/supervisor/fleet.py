"""Several worker processes, and what they share: permits, marks of hosts, answers about messages that came back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

from relayq.adapters.application_log import ApplicationLog
from relayq.adapters.figures import Figures, State, add_up
from relayq.app import rules
from relayq.config import ExitCode, Settings
from relayq.config.transfer import encode_settings
from relayq.supervisor.messages import (
    Answer,
    Ask,
    Cleared,
    FromWorker,
    GaveBack,
    LogLine,
    MarkedDown,
    NewSettings,
    Question,
    Setup,
    Started,
    Status,
    Stop,
    ToWorker,
)
from relayq.supervisor.permits import Limits, PermitBook
from relayq.supervisor.questions import Questions
from relayq.supervisor.slot import Slot
from relayq.supervisor.spawn import Spawned

TICK_SECONDS = 1.0
STOP_MARGIN = 20.0
"""What a worker may take to end beyond ``shutdown-timeout``."""
FALSE_STARTS = 3
"""When no worker has ever started, and one died so often: there is no use in trying."""


class Fleet:
    """All worker processes (``Crew``)."""

    def __init__(
        self,
        settings: Settings,
        count: int,
        spawned: Sequence[Spawned],
        log: ApplicationLog,
        on_change: Callable[[], None],
    ) -> None:
        """Nothing happens yet.

        Args:
            settings: Whole configuration.
            count: Number of workers.
            spawned: Processes that were started already, as many or none.
            log: Of this process; the workers' lines go there too.
            on_change: Called when a worker is doing something else.
        """
        self._settings = settings
        self._encoded = encode_settings(settings)
        self._count = count
        self._spawned = spawned
        self._log = log
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._permits = PermitBook(self._limits())
        self._questions = Questions()
        self._slots = {n: Slot(n, self._setup, self._received, self._ended) for n in range(1, count + 1)}
        self._over: asyncio.Future[int] = self._loop.create_future()
        self._code = int(ExitCode.OK)
        self._ticker: asyncio.TimerHandle
        self._is_stopping = False
        self._is_started = False

    async def run(self) -> int:
        """See ``Crew``."""
        if not self._is_stopping:
            self._is_started = True
            for slot, spawned in zip_longest(self._slots.values(), self._spawned):
                slot.start(spawned)
            self._ticker = self._loop.call_later(TICK_SECONDS, self._tick)
            try:
                return await self._over
            finally:
                self._ticker.cancel()
        return self._code

    def stop(self) -> None:
        """See ``Crew``."""
        self._is_stopping = True
        patience = self._settings.process.shutdown_timeout + STOP_MARGIN
        for slot in self._slots.values():
            slot.stop(Stop(), patience)
        self._look_whether_over()

    def abort(self) -> None:
        """See ``Crew``."""
        for slot in self._slots.values():
            slot.kill()

    def reconfigure(self, settings: Settings) -> None:
        """See ``Crew``."""
        self._settings = settings
        self._encoded = encode_settings(settings)
        limits = self._limits()
        for slot in self._slots.values():
            slot.send(NewSettings(self._encoded, limits))
        self._tell(self._permits.reconfigure(limits))

    @property
    def restarts(self) -> int:
        """See ``Crew``."""
        return sum(slot.restarts for slot in self._slots.values())

    def states(self) -> list[State]:
        """See ``Crew``."""
        return [slot.state for slot in self._slots.values()]

    def processes(self) -> dict[str, int]:
        """See ``Crew``."""
        named = {f"worker {slot.number}": slot.pid for slot in self._slots.values()}
        return {"supervisor": os.getpid()} | {name: pid for name, pid in named.items() if pid is not None}

    def figures(self) -> Figures:
        """See ``Crew``."""
        return add_up(slot.figures() for slot in self._slots.values())

    def summaries(self) -> list[str]:
        """See ``Crew``."""
        return [slot.summary() for slot in self._slots.values()]

    # --- the life of the workers --------------------------------------------------------------------------------------

    def _limits(self) -> Limits:
        return Limits(
            connections=rules.max_connections(self._settings),
            pair_connections=rules.lane_limits(self._settings).max_connections,
            workers=self._count,
        )

    def _setup(self, number: int) -> Setup:
        return Setup(number, self._encoded, self._permits.limits)

    def _ended(self, slot: Slot, how: str) -> None:
        """A process is gone: what it had borrowed is free, what it knew is lost, and another one takes its place."""
        self._tell(self._permits.drop(slot.number))
        self._tell(self._questions.drop(slot.number))
        if self._is_stopping:
            if slot.failed_code is not None:
                self._code = self._code or slot.failed_code
            self._look_whether_over()
        elif slot.failed_code is not None and not self._others_work(slot):
            self._give_up(slot.failed_code)
        elif slot.deaths + 1 >= FALSE_STARTS and not any(each.ever_started for each in self._slots.values()):
            self._log.write("critical", "supervisor", f"worker {slot.number} {how}, like those before it: giving up")
            self._give_up(int(ExitCode.INTERNAL))
        else:
            seconds = slot.start_again()
            text = f"worker {slot.number} {how}; the next one is started in {seconds:g} s"
            self._log.write("critical", "supervisor", text)
        self._on_change()

    def _others_work(self, slot: Slot) -> bool:
        """Whether what keeps a worker from starting did not keep others from it."""
        return slot.ever_started and any(each.has_started and each.is_running for each in self._slots.values())

    def _give_up(self, code: int) -> None:
        self._code = self._code or code
        self.stop()

    def _look_whether_over(self) -> None:
        if self._is_started and not self._over.done() and all(slot.is_over for slot in self._slots.values()):
            self._over.set_result(self._code)

    def _tick(self) -> None:
        now = self._loop.time()
        self._ticker = self._loop.call_later(TICK_SECONDS, self._tick)
        self._tell(self._questions.expire(now))
        for slot in self._slots.values():
            if slot.end_if_silent(now):
                self._log.write("critical", "supervisor", f"worker {slot.number} does not move: it is ended")

    # --- what they say ------------------------------------------------------------------------------------------------

    def _received(self, slot: Slot, message: FromWorker) -> None:
        match message:
            case LogLine():
                self._log.write(message.level, message.component, message.text, trace=message.trace, worker=slot.number)
            case Ask():
                self._tell(self._permits.ask(slot.number, message.key, message.count))
            case GaveBack():
                self._tell(self._permits.give_back(slot.number, message.key, message.count))
            case Question():
                working = [each.number for each in self._slots.values() if each.has_started and each.is_running]
                self._tell(self._questions.ask(slot.number, message, working, self._loop.time()))
            case Answer():
                self._tell(self._questions.answer(slot.number, message.number, message.knowledge))
            case MarkedDown() | Cleared():
                for other in self._slots.values():
                    if other is not slot:
                        other.send(message)
            case Started() | Status():
                self._on_change()

    def _tell(self, orders: Iterable[tuple[int, ToWorker]]) -> None:
        for number, message in orders:
            self._slots[number].send(message)
