"""The lock file and the identity of the server."""

from __future__ import annotations

import getpass
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from relayq.supervisor.host import HostError, LockFile, become


def test_the_second_one_is_told_who_was_first(tmp_path: Path) -> None:
    path = tmp_path / "relayq.pid"
    lock = LockFile(path)
    assert path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(HostError, match=f"held by process {os.getpid()}") as caught:
        LockFile(path)
    assert caught.value.is_lock
    lock.release()
    assert not path.exists()
    LockFile(path).release()


def test_a_file_left_by_a_crash_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "relayq.pid"
    path.write_text("1234567\n")
    lock = LockFile(path)
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_links_are_not_followed_and_missing_folders_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    for path in (tmp_path / "link", tmp_path / "none" / "file"):
        with pytest.raises(HostError, match="lock: cannot create"):
            LockFile(path)
    assert not (tmp_path / "victim").exists()


def test_who_is_it_already_stays_and_nobody_else_exists() -> None:
    become(getpass.getuser())
    for account in ("nobody-of-this-name", f"{getpass.getuser()}:no-such-group"):
        with pytest.raises(HostError, match="there is no user or group"):
            become(account)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_becomes_somebody_else_for_good() -> None:
    program = (
        "import os; from relayq.supervisor.host import become; become('nobody')\n"
        "try: os.setuid(0)\n"
        "except PermissionError: print(*os.getresuid(), *os.getresgid(), os.environ['HOME'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    user = pwd.getpwnam("nobody")
    assert done.stdout.split() == [*[str(user.pw_uid)] * 3, *[str(user.pw_gid)] * 3, user.pw_dir]
