"""Where the embedded broker's file lies (spec amqp.md 20, row "file")."""

from __future__ import annotations

import os
from pathlib import Path

from relayq.ports import BrokerRefusedError, BrokerStorageError

SYSTEM_FILE = Path("/var/lib/relayq/relayq.db")
USER_FILE = Path(".local/state/relayq/relayq.db")
"""Below the home folder."""

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
)

CANNOT_CREATE = 73
"""Exit code EX_CANTCREAT (spec config.md 4)."""


def find_file(path: str | None, *, system_file: Path = SYSTEM_FILE, home: Path | None = None) -> Path:
    """Path of the broker's file; the folder of the one in the home folder is made when it is missing.

    Args:
        path: Absolute path from the address, ``None`` = the usual places.
        system_file: The first of the usual places.
        home: Home folder, ``None`` = that of the environment.

    Raises:
        BrokerRefusedError: The system's file exists, or may exist, and this user must not use it. Another file is
            never taken in its place: mail would wait where nobody looks.
        BrokerStorageError: The folder in the home folder cannot be made.
    """
    if path is not None:
        return Path(path)
    if _exists(system_file):
        if not os.access(system_file, os.R_OK | os.W_OK, effective_ids=True):
            raise BrokerRefusedError(f"no permission for {system_file}: it belongs to another user")
        return system_file
    if os.access(system_file.parent, os.W_OK | os.X_OK, effective_ids=True):
        return system_file
    try:
        file = (home if home is not None else Path.home()) / USER_FILE
    except RuntimeError as error:
        raise BrokerStorageError(f"no folder for the queue file: {error}", CANNOT_CREATE) from error
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BrokerStorageError(f"cannot make the folder {file.parent}: {error.strerror}", CANNOT_CREATE) from error
    return file


def _exists(file: Path) -> bool:
    try:
        file.lstat()
    except PermissionError:
        raise BrokerRefusedError(f"no permission for {file.parent}: whether {file} exists is unknown") from None
    except OSError:
        return False
    return True


def network_file_system(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """Type of the file system below ``path`` if other machines may write to it too, else ``None``."""
    kind, longest = None, -1
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:  # proc(5): ID, parent, device, root, mount point, options, …, "-", type, source, options
        fields = line.split(" ")
        mount_point = fields[4].replace("\\040", " ")
        if path.is_relative_to(mount_point) and len(mount_point) >= longest:
            kind, longest = fields[fields.index("-") + 1], len(mount_point)
    return kind if kind in _NETWORK_FILE_SYSTEMS else None
