"""Logs with a line per event, attempts and downloads, in files that others rotate (spec operations.md 12). Layer 4."""

from relayq.adapters.send_log.download_log import DownloadLog
from relayq.adapters.send_log.log import SendLog
from relayq.adapters.send_log.writer import LogFileError

__all__ = ["DownloadLog", "LogFileError", "SendLog"]
