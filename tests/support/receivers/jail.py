"""A private root directory for a server that was unpacked, not installed.

Such a server knows its folders and its users by names that were compiled in. Inside a root of its own all of them
exist, and nothing of the machine is touched.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import Process, ServerNotReady

FIRST_UID = 23_000  # of the users inside; outside the ranges that distributions give to users and to services
COMMAND_SECONDS = 60.0
CHROOT = shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin:/bin") or "chroot"


def unpacked(package: str) -> Path:
    """Where ``scripts/install-test-servers`` has put a package."""
    return Path(__file__).parents[3] / ".cache" / "test-servers" / package


def is_unpacked(package: str) -> bool:
    """Whether it is there, and complete."""
    return (unpacked(package) / ".complete").exists()


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target


class Jail:
    """Root directory with the files of one package and the given users; call `close` when done.

    Attributes:
        root: The folder, as seen from outside.
        uids: Numeric id of each user, also that of its group.
    """

    def __init__(self, package: str, *users: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix=f"relayq-{package}-"))
        self.root.chmod(0o755)
        shutil.copytree(unpacked(package), self.root, symlinks=True, dirs_exist_ok=True, copy_function=_link_or_copy)
        self.uids = {name: FIRST_UID + number for number, name in enumerate(users)}
        for folder in ("etc", "dev", "var/run", "run", "tmp"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "tmp").chmod(0o1777)
        self._write_accounts()
        self._make_devices()

    def _write_accounts(self) -> None:
        accounts = {"root": 0, **self.uids}
        passwd = "".join(f"{name}:x:{uid}:{uid}::/var/empty:/bin/sh\n" for name, uid in accounts.items())
        group = "".join(f"{name}:x:{uid}:\n" for name, uid in accounts.items())
        self.write("etc/passwd", passwd)
        self.write("etc/group", group)
        self.write("etc/hosts", "127.0.0.1 localhost\n")
        self.write("etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        self.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")

    def _make_devices(self) -> None:
        for name, minor in (("null", 3), ("urandom", 9), ("random", 8)):
            path = self.root / "dev" / name
            try:
                os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
                path.open("rb").close()
            except OSError:  # a container without that capability, or a file system without devices: a file has to do
                path.unlink(missing_ok=True)
                path.write_bytes(b"" if name == "null" else os.urandom(65_536))
            path.chmod(0o666)

    def write(self, path: str, text: str, *, mode: int = 0o644) -> Path:
        """Make a file; ``path`` is relative to the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
        return file

    def folder(self, path: str, owner: str = "root", *, mode: int = 0o755) -> Path:
        """Make a folder; ``path`` is relative to the root."""
        made = self.root / path
        made.mkdir(parents=True, exist_ok=True)
        uid = self.uids.get(owner, 0)
        os.chown(made, uid, uid)
        made.chmod(mode)
        return made

    def add_shell(self) -> None:
        """Give the root this machine's ``/bin/sh``, for a server that runs programs by command line."""
        shutil.copy2(Path("/bin/sh").resolve(), self.root / "usr/bin/sh")

    def start(self, *command: str, user: str = "root") -> Process:
        """Start a program of the package inside; its output goes to the file ``output`` of the root."""
        return Process(
            [*self._enter(user), *command], env=self._environment(), log_file=self.root / "output", cwd=self.root
        )

    def _enter(self, user: str) -> tuple[str, ...]:
        uid = self.uids.get(user, 0)
        return (CHROOT, f"--userspec={uid}:{uid}", "--groups=", str(self.root))

    def run(self, *command: str, user: str = "root") -> str:
        """Run a program of the package inside to its end and return what it printed.

        Raises:
            ServerNotReady: It failed; its output is in the message.
        """
        done = subprocess.run(
            [*self._enter(user), *command], env=self._environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ServerNotReady(f"{' '.join(command)}: {done.stdout}")
        return done.stdout

    @staticmethod
    def _environment() -> Mapping[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.root, ignore_errors=True)


class JailedServer:
    """A server in a `Jail`; as a context manager it runs from entry to exit.

    Subclasses name the package and the users, and say what to configure and what to start.
    """

    package: str
    users: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.jail = Jail(self.package, *self.users)
        self._process: Process | None = None

    @classmethod
    def is_installed(cls) -> bool:
        """Whether its files are there."""
        return is_unpacked(cls.package)

    @property
    def pid(self) -> int:
        """Process id of the server, also after it was stopped."""
        assert self._process is not None, "the server was never started"
        return self._process.pid

    def configure(self) -> None:
        """Write the configuration."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        """Program and arguments; it stays in the foreground."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether it serves."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the server and wait until it serves.

        Raises:
            ServerNotReady: It ended, or did not serve in time; its output is in the message.
        """
        self.configure()
        self._process = self.jail.start(*self.command())
        self._process.wait_until(self.is_ready, timeout=COMMAND_SECONDS, what=self.package)

    def close(self) -> None:
        """End the process and remove its folder."""
        if self._process is not None:
            self._process.stop()
        self.jail.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
