"""``relayq run``: signals, the log, and one worker."""

from __future__ import annotations

import asyncio
import gc
import signal

from relayq.adapters.application_log import ApplicationLog
from relayq.adapters.log_observer import LogObserver
from relayq.adapters.store import UnusableAddressError
from relayq.app.worker import Worker
from relayq.config import EmbeddedAddress, ExitCode, Settings
from relayq.delivery.opening import SinkNotFoundError
from relayq.ports import (
    BrokerRefusedError,
    BrokerStorageError,
    BrokerUnavailableError,
    JournalError,
    TopologyError,
)


def spare_the_collector() -> None:
    """Let the cyclic garbage collector look seldom, and not at what stays for ever.

    With the default thresholds it took a fifth of the CPU per message: a thousand messages under way are some 50,000
    young objects, which it went through again and again. Cycles are rare here (exceptions with their frames).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def run_worker(settings: Settings) -> int:
    """``relayq run``: deliver until told to stop; returns the exit code."""
    log = ApplicationLog(settings.log.targets, settings.log.level, settings.log.format)
    observer = LogObserver(log)
    for problem in settings.warnings:
        log.write("warning", "config", str(problem))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_leave, stopping, loop)
    loop.add_signal_handler(signal.SIGUSR1, log.reopen)
    loop.add_signal_handler(signal.SIGUSR2, lambda: log.write("info", "status", observer.summary()))
    try:
        worker = Worker(settings, observer=observer, log=lambda level, text: log.write(level, "broker", text))
    except UnusableAddressError as error:
        log.write("critical", "store", str(error))
        log.close()
        return int(ExitCode.CONFIGURATION)
    except JournalError as error:
        log.write("critical", "journal", str(error))
        log.close()
        return int(ExitCode.CANNOT_CREATE)
    starting = asyncio.ensure_future(worker.start())
    waiting = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            spare_the_collector()
            log.write("info", "run", f"delivering from {settings.queues.outbox!r} on {_shown_address(settings)}")
            await waiting
    except (BrokerRefusedError, TopologyError, BrokerStorageError, BrokerUnavailableError) as error:
        log.write("critical", "broker", str(error))
        return exit_code_of(error)
    except JournalError as error:
        log.write("critical", "journal", str(error))
        return int(ExitCode.CANNOT_CREATE)
    except SinkNotFoundError as error:
        log.write("critical", "run", str(error))
        return int(ExitCode.CONFIGURATION)
    else:
        return int(ExitCode.OK)
    finally:
        for task in (starting, waiting):
            task.cancel()
        await asyncio.gather(starting, waiting, return_exceptions=True)
        await worker.stop()
        log.write("info", "run", f"stopped; {observer.summary()}")
        log.close()


def exit_code_of(error: Exception) -> int:
    """Exit code for what a broker refused at startup (spec config.md 4)."""
    if isinstance(error, BrokerStorageError):
        return error.exit_code
    if isinstance(error, BrokerRefusedError):
        return int(ExitCode.NO_PERMISSION)
    if isinstance(error, TopologyError):
        return int(ExitCode.CONFIGURATION)
    return int(ExitCode.UNAVAILABLE)


def _stop_or_leave(stopping: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    """The first signal drains, a second one stops at once."""
    if stopping.is_set():
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        signal.raise_signal(signal.SIGTERM)
    stopping.set()


def _shown_address(settings: Settings) -> str:
    address = settings.broker.address
    return str(address) if isinstance(address, EmbeddedAddress) else ",".join(map(str, address))
