"""Every attempt becomes a line of the file."""

from __future__ import annotations

from pathlib import Path

from relayq.adapters.send_log.formats import line_format
from relayq.adapters.send_log.writer import CLOSE_PATIENCE, LineWriter, Report
from relayq.model import Attempt, Message, Outcome


class SendLog:
    """What an attempt costs the event loop is making its line; the rest is done by a thread."""

    def __init__(self, path: Path, format_text: str | None, report: Report) -> None:
        """Open the file.

        Args:
            path: Absolute path; its folder exists.
            format_text: Value of ``send-log-format``, ``None`` = the usual fields.
            report: Told level and text about trouble; called in any thread.

        Raises:
            LogFileError: The file cannot be opened.
            TemplateError: The format is no template.
        """
        self._line = line_format(format_text, report)
        self._writer = LineWriter(path, report)
        self._add = self._writer.add

    def write(self, message: Message | None, attempt: Attempt, outcome: Outcome) -> None:
        """One finished attempt; ``message`` is ``None`` when the body was no usable message."""
        self._add(self._line(message, attempt, outcome))

    def close(self, patience: float = CLOSE_PATIENCE) -> None:
        """Let what waits be written, for at most ``patience`` seconds. Idempotent."""
        self._writer.close(patience)
