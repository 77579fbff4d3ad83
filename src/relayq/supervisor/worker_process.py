"""What runs in a worker process: one that was forked, or ``python -m relayq.supervisor.worker_process FD``.

The process belongs to its supervisor. It takes its configuration from the control socket, whose number is the
argument, reports there, and ends in order when that socket does. Signals are the supervisor's business: a terminal
sends Ctrl-C and its hang-up to the whole group, so they are ignored here; SIGTERM, which the kernel sends when the
supervisor dies, drains.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import signal
import socket
import sys
import traceback

from relayq.adapters.allocator import return_large_blocks
from relayq.app import Links, WorkerRun
from relayq.config import ExitCode, Settings
from relayq.config.transfer import decode_settings
from relayq.supervisor.channel import Channel
from relayq.supervisor.desk import MarkDesk, PermitDesk, QuestionDesk, pass_on
from relayq.supervisor.messages import (
    Asked,
    Failed,
    FromWorker,
    LogLine,
    NewSettings,
    Setup,
    Started,
    Status,
    Stop,
    Told,
    ToWorker,
)
from relayq.supervisor.permits import Granted

STATUS_SECONDS = 1.0
LAST_SECONDS = 15
"""What an orderly end may take beyond ``shutdown-timeout``; then the process ends in disorder."""
MAX_TEXT = 100_000
_PR_SET_PDEATHSIG = 1


class ChannelLog:
    """``EventLog`` in the supervisor; what it cannot take is left out and counted, never waited for."""

    def __init__(self, channel: Channel[ToWorker]) -> None:
        self._channel = channel
        self._reported = 0

    def write(self, level: str, component: str, text: str, error: BaseException | None = None) -> None:
        """One event."""
        trace = "" if error is None else "".join(traceback.format_exception(error))
        self._channel.send(LogLine(level, component, text[:MAX_TEXT], trace[-MAX_TEXT:]), may_be_dropped=True)
        if self._channel.is_over:
            print(component, text, trace, file=sys.stderr)  # noqa: T201 - nobody else is left to be told

    def report_dropped(self) -> None:
        """Say how many lines are missing."""
        missing = self._channel.dropped - self._reported
        if missing:
            self._reported += missing
            self.write("warning", "log", f"{missing} lines were left out: they came too fast")


class WorkerProcess:
    """One worker and its line to the supervisor."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel: Channel[ToWorker] = Channel(ToWorker, self._received, self._supervisor_gone)
        self._log = ChannelLog(self._channel)
        self._marks = MarkDesk(self._send)
        self._questions = QuestionDesk(self._send)
        self._setup: asyncio.Future[Setup] = self._loop.create_future()
        self._permits: PermitDesk | None = None
        self._run: WorkerRun | None = None
        self._settings: Settings
        self._is_stopping = False

    async def live(self, control: socket.socket) -> int:
        """Everything; returns the exit code."""
        self._loop.add_signal_handler(signal.SIGTERM, self._stop)
        await self._channel.open(control)
        setup = await self._setup
        self._settings = decode_settings(setup.settings)
        self._permits = PermitDesk(setup.limits, self._send)
        links = Links(number=setup.number, lender=self._permits, marks=self._marks, inquiry=self._questions)
        self._run = WorkerRun(self._settings, self._log, self._started, links)
        if self._is_stopping:
            self._stop()
        reporting = self._loop.create_task(self._report())
        try:
            code = await self._run.run()
        finally:
            reporting.cancel()
        self._report_once()
        if code != ExitCode.OK:
            self._send(Failed(code))
        self._channel.close()
        await asyncio.sleep(0)  # the socket is closed in the next turn
        return code

    def _started(self) -> None:
        self._send(Started())
        self._report_once()

    async def _report(self) -> None:
        while True:
            self._report_once()
            await asyncio.sleep(STATUS_SECONDS)

    def _report_once(self) -> None:
        assert self._run is not None
        assert self._permits is not None
        self._permits.return_forgotten()
        self._log.report_dropped()
        status = Status(str(self._run.state), self._run.figures(), self._run.summary())
        self._channel.send(status, may_be_dropped=True)

    # --- the supervisor -----------------------------------------------------------------------------------------------

    def _send(self, message: FromWorker) -> None:
        self._channel.send(message)

    def _received(self, message: ToWorker) -> None:
        if isinstance(message, Setup):
            if not self._setup.done():
                self._setup.set_result(message)
            return
        worker = self._run.worker if self._run is not None else None
        match message:
            case Stop():
                self._stop()
            case Told():
                self._questions.told(message)
            case Asked():
                self._questions.answer(message, worker)
            case NewSettings():
                self._reconfigure(message)
            case Granted():
                if worker is not None and self._permits is not None:
                    self._permits.granted(message, worker)
            case _:
                if worker is not None:
                    pass_on(worker, message)

    def _reconfigure(self, message: NewSettings) -> None:
        assert self._run is not None
        assert self._permits is not None
        self._settings = decode_settings(message.settings)
        self._permits.limits = message.limits
        self._run.reconfigure(self._settings)

    def _supervisor_gone(self, error: Exception | None) -> None:
        """Nobody is left to be told anything: end in order, and leave the messages to the broker."""
        del error
        self._questions.close()
        if not self._setup.done():
            os._exit(ExitCode.OK)
        self._stop()

    def _stop(self) -> None:
        self._is_stopping = True
        if self._run is None:
            return
        # The kernel's clock, for the case that ours stands still.
        signal.alarm(int(self._settings.process.shutdown_timeout) + LAST_SECONDS)
        self._run.stop()


def tie_to_parent() -> None:
    """Let the kernel send SIGTERM when the supervisor dies, in case the end of the socket is missed."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def work(control: socket.socket) -> int:
    """Be a worker until the end; returns the exit code of the process."""
    import uvloop

    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()  # a worker that hangs is ended with SIGABRT: its log tells where it was
    tie_to_parent()
    return_large_blocks()

    async def live() -> int:
        return await WorkerProcess().live(control)

    return uvloop.run(live())


if __name__ == "__main__":
    sys.exit(work(socket.socket(fileno=int(sys.argv[1]))))
