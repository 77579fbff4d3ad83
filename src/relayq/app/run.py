"""One worker in this process, from its start to its end, whoever it is that started it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

from relayq.adapters.figures import Figures, State
from relayq.adapters.log_observer import EventLog, LogObserver
from relayq.adapters.store import UnusableAddressError
from relayq.app.log_files import LogFiles
from relayq.app.worker import Worker
from relayq.app.world import ALONE, Links
from relayq.config import EmbeddedAddress, ExitCode, Settings
from relayq.delivery.opening import SinkNotFoundError
from relayq.ports import (
    BrokerError,
    BrokerRefusedError,
    BrokerStorageError,
    BrokerUnavailableError,
    JournalError,
    SchemaError,
    TopologyError,
)


class WorkerRun:
    """Builds a worker, starts it, waits until it shall stop, and stops it.

    Attributes:
        worker: ``None`` before it is built.
    """

    def __init__(self, settings: Settings, log: EventLog, on_started: Callable[[], None], links: Links = ALONE) -> None:
        """Nothing happens yet.

        Args:
            settings: Whole configuration.
            log: For what a person has to know.
            on_started: Called when the outbox is being consumed.
            links: To other workers.
        """
        self._settings = settings
        self._log = log
        self._on_started = on_started
        self._links = links
        self._observer = LogObserver(log)
        self._stopping = asyncio.Event()
        self._is_started = False
        self._files = LogFiles(log, self._observer)
        self.worker: Worker | None = None

    async def run(self) -> int:
        """Deliver until told to stop; returns the exit code. What went wrong is in the log."""
        try:
            if not self._files.open(self._settings):
                return int(ExitCode.CANNOT_CREATE)
            return await self._deliver()
        finally:
            await self._files.close()

    async def _deliver(self) -> int:
        log, links = self._log, self._links
        try:
            self.worker = Worker(
                self._settings,
                observer=self._observer,
                log=lambda level, text: log.write(level, "broker", text),
                links=links,
            )
        except UnusableAddressError as error:
            log.write("critical", "store", str(error))
            return int(ExitCode.CONFIGURATION)
        except JournalError as error:
            log.write("critical", "journal", str(error))
            return int(ExitCode.CANNOT_CREATE)
        starting = asyncio.ensure_future(self.worker.start())
        waiting = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                spare_the_collector()
                self._is_started = True
                self._on_started()
                await waiting
        except (BrokerRefusedError, TopologyError, BrokerStorageError, BrokerUnavailableError) as error:
            log.write("critical", "broker", str(error))
            return exit_code_of(error)
        except JournalError as error:
            log.write("critical", "journal", str(error))
            return int(ExitCode.CANNOT_CREATE)
        except SchemaError as error:
            log.write("critical", "database", str(error))
            return int(ExitCode.CONFIGURATION)
        except SinkNotFoundError as error:
            log.write("critical", "run", str(error))
            return int(ExitCode.CONFIGURATION)
        else:
            return int(ExitCode.OK)
        finally:
            for task in (starting, waiting):
                task.cancel()
            await asyncio.gather(starting, waiting, return_exceptions=True)
            await self.worker.stop()

    def stop(self) -> None:
        """Drain and end; more than once is as good as once."""
        self._stopping.set()

    @property
    def state(self) -> State:
        """What it is doing."""
        if self._stopping.is_set():
            return State.STOPPING
        if not self._is_started or self.worker is None:
            return State.STARTING
        if not self.worker.broker.is_connected:
            return State.CONNECTING
        return State.CONSUMING if self.worker.scheduler.is_consuming else State.BLOCKED

    def figures(self) -> Figures:
        """Everything that is counted."""
        figures = self._observer.figures()
        if self.worker is not None:
            figures |= self.worker.figures()
        return figures

    def summary(self) -> str:
        """One line about what was done so far."""
        held = self.worker.scheduler.held if self.worker is not None else 0
        return f"messages {held}, {self._observer.summary()}"

    def reconfigure(self, settings: Settings) -> None:
        """Other settings from now on, as far as they can be changed (spec config.md 5)."""
        self._files.reconfigure(self._settings, settings)
        self._settings = settings
        if self.worker is not None:
            self.worker.reconfigure(settings)


def spare_the_collector() -> None:
    """Let the cyclic garbage collector look seldom, and not at what stays for ever.

    With the default thresholds it took a fifth of the CPU per message: a thousand messages under way are some 50,000
    young objects, which it went through again and again. Cycles are rare here (exceptions with their frames).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def exit_code_of(error: BrokerError) -> int:
    """Exit code for what a broker refused at startup (spec config.md 4)."""
    if isinstance(error, BrokerStorageError):
        return error.exit_code
    if isinstance(error, BrokerRefusedError):
        return int(ExitCode.NO_PERMISSION)
    if isinstance(error, TopologyError):
        return int(ExitCode.CONFIGURATION)
    return int(ExitCode.UNAVAILABLE)


def shown_address(settings: Settings) -> str:
    """Where the broker is, without passwords."""
    address = settings.broker.address
    return str(address) if isinstance(address, EmbeddedAddress) else ",".join(map(str, address))
