"""``relayq doctor``: everything an installation stands on, looked at once, with the fix for what is wrong.

Each module knows one area and yields `Finding` records; `examination` runs all of them side by side, none longer than
its time limit; `report` prints.
"""

from relayq.cli.doctor.command import command

__all__ = ["command"]
