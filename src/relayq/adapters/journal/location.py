"""Where the journal lies when nobody says: beside the embedded broker's usual file."""

from __future__ import annotations

import os
from pathlib import Path

from relayq.ports import JournalError

SYSTEM_FOLDER = Path("/var/lib/relayq")
USER_FOLDER = Path(".local/state/relayq")
"""Below the home folder."""
NAME = "journal"


def find_folder(path: str | None, *, system_folder: Path = SYSTEM_FOLDER, home: Path | None = None) -> Path:
    """The folder to write to, made when it is missing.

    Args:
        path: Absolute path, ``None`` = the usual places.
        system_folder: The first of the usual places, taken when it exists and may be written to.
        home: Home folder, ``None`` = that of the environment.

    Raises:
        JournalError: There is none, or it cannot be made.
    """
    if path is not None:
        folder = Path(path)
    elif os.access(system_folder, os.W_OK | os.X_OK, effective_ids=True):
        folder = system_folder / NAME
    else:
        try:
            folder = (home if home is not None else Path.home()) / USER_FOLDER / NAME
        except RuntimeError as error:
            raise JournalError(f"no folder for the journal: {error}") from error
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise JournalError(f"cannot make the folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise JournalError(f"no permission to write to the folder {folder}")
    return folder
