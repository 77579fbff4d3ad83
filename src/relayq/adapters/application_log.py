"""The application log: own events, never one line per mail (spec operations.md 12)."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_NAMES = {logging.DEBUG: "Debug", logging.INFO: "Info", logging.WARNING: "Warning", logging.ERROR: "Critical"}
_ONE_LINE = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029], " ")


class ApplicationLogError(Exception):
    """A log file cannot be opened (exit code 73)."""


class ApplicationLog:
    """Writes lines to every configured target."""

    def __init__(self, targets: Sequence[str], level: str, format_name: str) -> None:
        """Open the targets.

        Args:
            targets: ``stdout``, ``stderr``, ``syslog``, or absolute paths; may be empty.
            level: Least important events: ``debug``, ``info``, ``warning`` or ``critical``.
            format_name: ``text`` or ``json``.

        Raises:
            ApplicationLogError: A target cannot be opened.
        """
        self._logger = logging.Logger("relayq", _LEVELS[level])  # noqa: LOG001 - ours alone: nothing else logs here
        for handler in _open_all(targets, format_name):
            self._logger.addHandler(handler)

    def reconfigure(self, targets: Sequence[str], level: str, format_name: str) -> None:
        """Use other targets from the next line on.

        Raises:
            ApplicationLogError: A target cannot be opened; nothing has changed then.
        """
        handlers = _open_all(targets, format_name)
        self.close()
        for handler in handlers:
            self._logger.addHandler(handler)
        self._logger.setLevel(_LEVELS[level])

    def write(
        self,
        level: str,
        component: str,
        text: str,
        error: BaseException | None = None,
        *,
        trace: str = "",
        worker: int = 0,
    ) -> None:
        """One event.

        Args:
            level: ``debug``, ``info``, ``warning`` or ``critical``.
            component: Part of the program.
            text: What happened; control characters become blanks, so nothing from outside can forge a line.
            error: Its trace is added.
            trace: Trace of an error in another process.
            worker: Number of the process that tells it, 0 for this one.
        """
        if error is not None:
            trace = "".join(traceback.format_exception(error))
        extra = {"component": component, "trace": trace, "worker": worker}
        self._logger.log(_LEVELS.get(level, logging.CRITICAL), text, extra=extra)

    def reopen(self) -> None:
        """Open files again, after a rotation."""
        for handler in self._logger.handlers:
            if isinstance(handler, logging.handlers.WatchedFileHandler):
                handler.reopenIfNeeded()

    def close(self) -> None:
        """Close files."""
        for handler in list(self._logger.handlers):
            self._logger.removeHandler(handler)
            handler.close()


def _open_all(targets: Sequence[str], format_name: str) -> list[logging.Handler]:
    formatter = _JsonFormatter() if format_name == "json" else _TextFormatter()
    handlers: list[logging.Handler] = [logging.NullHandler()]  # without any, warnings would go to stderr after all
    try:
        for target in targets:
            handler = _open(target)
            handler.setFormatter(formatter)
            handlers.append(handler)
    except ApplicationLogError:
        for handler in handlers:
            handler.close()
        raise
    return handlers


def _open(target: str) -> logging.Handler:
    if target == "stdout":
        return logging.StreamHandler(sys.stdout)
    if target == "stderr":
        return logging.StreamHandler(sys.stderr)
    try:
        if target == "syslog":
            return logging.handlers.SysLogHandler("/dev/log", facility=logging.handlers.SysLogHandler.LOG_MAIL)
        return logging.handlers.WatchedFileHandler(Path(target), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ApplicationLogError(f"application-log: cannot open {target}: {error.strerror}") from None


class _TextFormatter(logging.Formatter):
    """``[Level] [YYYY-MM-DD HH:MM:SS] [component] text``, times in UTC."""

    @staticmethod
    def converter(seconds: float | None) -> time.struct_time:
        """UTC."""
        return time.gmtime(seconds)

    def __init__(self) -> None:
        super().__init__("[%(level)s] [%(asctime)s] [%(place)s] %(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The line, and those of a trace marked as part of it: the text of an error may come from outside."""
        worker: int = getattr(record, "worker", 0)
        record.level = _NAMES.get(record.levelno, "Critical")
        record.place = getattr(record, "component", "") + (f"/{worker}" if worker else "")
        lines = [super().format(record)]
        lines += ("  | " + line.translate(_ONE_LINE) for line in getattr(record, "trace", "").splitlines())
        return "\n".join(lines)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - name of the base class
        record.message = record.message.translate(_ONE_LINE)
        return super().formatMessage(record)


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(" ", "milliseconds")[:-6],
            "level": _NAMES.get(record.levelno, "Critical").lower(),
            "component": getattr(record, "component", ""),
            "text": record.getMessage(),
        }
        if worker := getattr(record, "worker", 0):
            line["worker"] = worker
        if trace := getattr(record, "trace", ""):
            line["trace"] = trace
        return json.dumps(line, ensure_ascii=False)
