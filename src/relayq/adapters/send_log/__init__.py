"""The send log: one line per attempt, in a file that others rotate (spec operations.md 12). Layer 4."""

from relayq.adapters.send_log.log import SendLog
from relayq.adapters.send_log.writer import LogFileError

__all__ = ["LogFileError", "SendLog"]
