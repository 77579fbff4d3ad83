"""``relayq run``: one supervisor and its workers, from the first line of the log to the exit code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relayq import __version__
from relayq.adapters.application_log import ApplicationLog, ApplicationLogError
from relayq.adapters.figures import State
from relayq.app import rules, shown_address
from relayq.config import ConfigurationError, ExitCode, Settings, decide_reload
from relayq.supervisor.crew import Crew, Inline
from relayq.supervisor.fleet import Fleet
from relayq.supervisor.host import HostError, LockFile, become
from relayq.supervisor.listening import WebError, WebRules
from relayq.supervisor.metrics import Metrics
from relayq.supervisor.notify import ServiceManager
from relayq.supervisor.spawn import Spawned, worker_count

READY_SECONDS = 10.0
"""A service manager is told "ready" after this long even if the broker cannot be reached: that is no failed start."""
STATUS_SECONDS = 5.0

if TYPE_CHECKING:
    from relayq.supervisor.web import WebServer


async def supervise(
    settings: Settings,
    load: Callable[[], Settings],
    on_ready: Callable[[], None] | None = None,
    spawned: Sequence[Spawned] = (),
) -> int:
    """Deliver until told to stop; returns the exit code. What went wrong is in the log.

    Args:
        settings: Whole configuration.
        load: Reads it again, for a reload; in a thread, because it may ask DNS for the name of this host.
        on_ready: Called once, when mail is delivered, or could be if the broker were there.
        spawned: Worker processes that were started already, as many as there shall be, or none.
    """
    try:
        log = ApplicationLog(settings.log.targets, settings.log.level, settings.log.format)
    except ApplicationLogError as error:
        print(f"relayq: {error}", file=sys.stderr)  # noqa: T201 - there is no log
        return int(ExitCode.CANNOT_CREATE)
    lock: LockFile | None = None
    web: WebServer | None = None
    try:
        if settings.process.lock is not None:
            lock = LockFile(Path(settings.process.lock))
        web = _open_web(settings)
        if settings.process.user is not None:
            become(settings.process.user)
        return await Supervisor(settings, load, log, web, on_ready, spawned).run()
    except HostError as error:
        log.write("critical", "run", str(error))
        return int(ExitCode.CANNOT_CREATE if error.is_lock else ExitCode.OS_REFUSED)
    except WebError as error:
        log.write("critical", "www", str(error))
        return int(ExitCode.CONFIGURATION if error.is_configuration else ExitCode.OS_REFUSED)
    finally:
        if web is not None:
            await web.close()
        if lock is not None:
            lock.release()
        log.close()


class Supervisor:
    """Signals, reloads, and what the service manager is told."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        log: ApplicationLog,
        web: WebServer | None,
        on_ready: Callable[[], None] | None,
        spawned: Sequence[Spawned],
    ) -> None:
        """Build everything for the running loop; nothing is started.

        Args:
            settings: Whole configuration.
            load: Reads it again.
            log: Of the instance.
            web: Listens already; ``None`` where nobody wants to know.
            on_ready: Called once.
            spawned: Worker processes there are already.
        """
        self._web = web
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._load = load
        self._log = log
        self._manager = ServiceManager(os.environ)
        self._is_ready = False
        self._has_delivered = False
        self._is_stopping = False
        self._is_aborted = False
        self._reloading: asyncio.Task[None] | None = None
        self._wants_reload = False
        count = worker_count(settings.process.smtp_threads)
        self._crew: Crew = (
            Inline(settings, log, self._changed) if count == 1 else Fleet(settings, count, spawned, log, self._changed)
        )
        self._count = count
        self._late: asyncio.TimerHandle
        self._heart: asyncio.TimerHandle

    async def run(self) -> int:
        """See :func:`supervise`."""
        # Before the first line: whoever has read one may send a signal.
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop_or_leave)
        self._loop.add_signal_handler(signal.SIGHUP, self.reload)
        self._loop.add_signal_handler(signal.SIGUSR1, self._log.reopen)
        self._loop.add_signal_handler(signal.SIGUSR2, self._say_status)
        for problem in self._settings.warnings:
            self._log.write("warning", "config", str(problem))
        workers = "1 worker" if self._count == 1 else f"{self._count} workers"
        self._log.write("info", "run", f"relayq {__version__}, process {os.getpid()}, {workers}")
        self._warn_of_few_files()
        self._late = self._loop.call_later(READY_SECONDS, self._say_ready)
        self._beat()
        if self._web is not None:
            await self._web.start(self._crew.states, Metrics(self._crew).text)
        try:
            code = await self._crew.run()
        finally:
            self._late.cancel()
            if self._reloading is not None:
                self._reloading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._reloading
        self._heart.cancel()
        self._manager.stopping()
        self._manager.close()
        for line in self._crew.summaries():
            self._log.write("info", "run", f"stopped; {line}")
        if self._is_aborted:
            _leave()
        return code

    def _warn_of_few_files(self) -> None:
        """Each connection is an open file, of which the machine may allow fewer than are wanted."""
        wanted, allowed = rules.wanted_connections(self._settings), rules.max_connections(self._settings)
        if allowed < wanted:
            text = f"smtp-connections: {allowed} instead of {wanted}, for this process may open no more files"
            self._log.write("warning", "run", text)

    # --- what it is doing ---------------------------------------------------------------------------------------------

    def status(self) -> str:
        """One line for people."""
        states = Counter(self._crew.states())
        shown = ", ".join(f"{count} {state}" for state, count in states.items())
        restarts = self._crew.restarts
        return f"workers: {shown}" + (f"; restarts: {restarts}" if restarts else "")

    def _changed(self) -> None:
        """A worker is doing something else, perhaps."""
        if not self._has_delivered and all(state is State.CONSUMING for state in self._crew.states()):
            self._has_delivered = True
            address = shown_address(self._settings)
            self._log.write("info", "run", f"delivering from {self._settings.queues.outbox!r} on {address}")
            self._say_ready()

    def _say_ready(self) -> None:
        if not self._is_ready and not self._is_stopping:
            self._is_ready = True
            self._manager.ready(self.status())
            if self._on_ready is not None:
                self._on_ready()

    def _beat(self) -> None:
        """Tell the service manager that the loop runs, and now and then what it is doing."""
        self._manager.alive()
        self._changed()  # one worker in this process tells nobody when it has connected again
        if self._is_ready and not self._is_stopping:
            self._manager.status(self.status())
        watchdog = self._manager.watchdog_seconds
        self._heart = self._loop.call_later(
            min(watchdog / 2, STATUS_SECONDS) if watchdog else STATUS_SECONDS, self._beat
        )

    def _say_status(self) -> None:
        self._log.write("info", "status", self.status())
        for line in self._crew.summaries():
            self._log.write("info", "status", line)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _stop_or_leave(self) -> None:
        """The first signal drains, a second one stops at once."""
        if self._is_stopping:
            self._is_aborted = True
            self._crew.abort()
            if isinstance(self._crew, Inline):
                _leave()
            return
        self._is_stopping = True
        self._manager.stopping()
        self._crew.stop()

    # --- reload -------------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the configuration again (spec config.md 5); once more when it is being read just now."""
        self._wants_reload = True
        if self._reloading is None and not self._is_stopping:
            self._reloading = self._loop.create_task(self._reload())
            self._reloading.add_done_callback(self._reloaded)

    def _reloaded(self, task: asyncio.Task[None]) -> None:
        self._reloading = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.write("critical", "reload", f"internal error, nothing was changed: {error!r}", error)
            self._wants_reload = False
        if self._wants_reload:
            self.reload()

    async def _reload(self) -> None:
        self._wants_reload = False
        self._manager.reloading()
        try:
            fresh = await asyncio.to_thread(self._load)
            decided = decide_reload(self._settings, fresh)
        except ConfigurationError as error:
            for problem in error.problems:
                self._log.write("critical", "reload", str(problem))
            self._log.write("critical", "reload", "nothing was changed: the configuration has errors")
        else:
            self._apply(decided.settings, decided.applied, decided.needs_restart)
        self._log.reopen()
        self._manager.ready(self.status())

    def _apply(self, settings: Settings, applied: tuple[str, ...], needs_restart: tuple[str, ...]) -> None:
        """Either everything is taken over or nothing."""
        try:
            self._log.reconfigure(settings.log.targets, settings.log.level, settings.log.format)
            if self._web is not None:
                self._web.reconfigure(web_rules(settings))
        except (ApplicationLogError, WebError) as error:
            self._log.write("critical", "reload", f"nothing was changed: {error}")
            return
        self._settings = settings
        self._crew.reconfigure(settings)
        for problem in settings.warnings:
            self._log.write("warning", "reload", str(problem))
        if needs_restart:
            self._log.write("warning", "reload", f"needs restart, not applied: {', '.join(needs_restart)}")
        self._log.write("info", "reload", f"applied: {', '.join(applied) or 'nothing changed'}")


def _open_web(settings: Settings) -> WebServer | None:
    """The HTTP server that is configured. An HTTP library takes a while to load: only where it is used."""
    if not settings.web.port and not settings.web.secure_port:
        return None
    from relayq.supervisor.web import WebServer

    return WebServer(web_rules(settings))


def web_rules(settings: Settings) -> WebRules:
    """Settings as ``web`` wants them."""
    given = settings.web
    return WebRules(
        addresses=tuple(map(str, given.ip)),
        ports=given.port,
        secure_ports=given.secure_port,
        certificate=given.certificate,
        private_key=given.privatekey,
        ciphers=given.ciphers or "",
        tokens=given.api_tokens,
        connections=given.connections,
        has_metrics=given.metrics,
    )


def _leave() -> None:
    """End as somebody who does not handle the signal."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)
    os._exit(128 + signal.SIGTERM)  # the first process of a container does not die of signals
