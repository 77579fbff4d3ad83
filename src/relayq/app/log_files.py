"""The log files of a worker that get lines about its work: open, changed by a reload, closed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from pathlib import Path

from relayq.adapters.clock import SystemClock
from relayq.adapters.log_observer import EventLog, LogObserver
from relayq.adapters.send_log import DownloadLog, LogFileError, SendLog
from relayq.config import Settings


class LogFiles:
    """The send log and the download log; each is there if a setting names its file."""

    def __init__(self, log: EventLog, observer: LogObserver) -> None:
        """Nothing is opened.

        Args:
            log: Told about trouble.
            observer: Gets what writes lines.
        """
        self._log = log
        self._observer = observer
        self._send: SendLog | None = None
        self._downloads: DownloadLog | None = None

    def open(self, settings: Settings) -> bool:
        """Open both; ``False``, and told, if one cannot be opened."""
        return self._try_send(settings, "") and self._try_downloads(settings, "")

    def reconfigure(self, known: Settings, settings: Settings) -> None:
        """Write to other files, or in another form, from now on; what cannot be opened changes nothing."""
        before, after = known.log, settings.log
        if (before.send_file, before.send_format) != (after.send_file, after.send_format):
            self._try_send(settings, "; the old one is still used")
        if (before.download_file, before.download_format) != (after.download_file, after.download_format):
            self._try_downloads(settings, "; the old one is still used")

    async def close(self) -> None:
        """Let what waits be written."""
        for file in (self._send, self._downloads):
            if file is not None:
                await asyncio.to_thread(file.close)

    def _try_send(self, settings: Settings, otherwise: str) -> bool:
        path, previous = settings.log.send_file, self._send
        try:
            opened = None if path is None else SendLog(Path(path), settings.log.send_format, self._report("send log"))
        except LogFileError as error:
            self._log.write("critical", "send log", f"send-log-file: {error}{otherwise}")
            return False
        self._send = opened
        self._observer.write_attempt = None if opened is None else opened.write
        if previous is not None:
            previous.close(0)  # its thread finishes it
        return True

    def _try_downloads(self, settings: Settings, otherwise: str) -> bool:
        path, previous = settings.log.download_file, self._downloads
        form, report = settings.log.download_format, self._report("download log")
        try:
            opened = None if path is None else DownloadLog(Path(path), form, report, SystemClock().now)
        except LogFileError as error:
            self._log.write("critical", "download log", f"download-log-file: {error}{otherwise}")
            return False
        self._downloads = opened
        self._observer.write_download = None if opened is None else opened.write
        if previous is not None:
            previous.close(0)
        return True

    def _report(self, component: str) -> functools.partial[None]:
        return functools.partial(_report_from_thread, asyncio.get_running_loop(), self._log, component)


def _report_from_thread(loop: asyncio.AbstractEventLoop, log: EventLog, component: str, level: str, text: str) -> None:
    """Trouble of a log file, told by its thread."""
    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everybody who could be told
        loop.call_soon_threadsafe(log.write, level, component, text)
