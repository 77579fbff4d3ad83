"""Every resource that comes from the web becomes a line of a file of its own (spec operations.md 12)."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from relayq.adapters.send_log.formats import JSON_FORMAT, TEMPLATE_SECONDS, LineTemplate, one_line
from relayq.adapters.send_log.writer import CLOSE_PATIENCE, LineWriter, Report
from relayq.model.timestamp import format_timestamp


class DownloadLog:
    """What a download costs the event loop is making its line; the rest is done by a thread."""

    def __init__(self, path: Path, format_text: str | None, report: Report, now: Callable[[], datetime]) -> None:
        """Open the file.

        Args:
            path: Absolute path; its folder exists.
            format_text: Value of ``download-log-format``: ``None`` = date, seconds since 1970 and address, ``json``, or
                a template of ``$url``, ``$date`` and ``$time``.
            report: Told level and text about trouble; called in any thread.
            now: Tells the time.

        Raises:
            LogFileError: The file cannot be opened.
            TemplateError: The format is no template.
        """
        self._is_json = format_text is not None and format_text.strip().lower() == JSON_FORMAT
        self._template: LineTemplate | None = None
        if format_text is not None and not self._is_json:
            self._template = LineTemplate(format_text, "download-log-format", report)
        self._now = now
        self._writer = LineWriter(path, report)

    def write(self, url: str) -> None:
        """One resource that has just come."""
        at = self._now()
        self._writer.add(one_line(self._line({"date": format_timestamp(at), "time": int(at.timestamp()), "url": url})))

    def _line(self, fields: dict[str, object]) -> str:
        if self._is_json:
            return msgspec.json.encode(fields).decode()
        if self._template is not None:
            line = self._template.render(dict(fields), int(str(fields["time"])), time.monotonic() + TEMPLATE_SECONDS)
            if line is not None:
                return line
        return f"{fields['date']} {fields['time']} {fields['url']}"

    def close(self, patience: float = CLOSE_PATIENCE) -> None:
        """Let what waits be written, for at most ``patience`` seconds. Idempotent."""
        self._writer.close(patience)
