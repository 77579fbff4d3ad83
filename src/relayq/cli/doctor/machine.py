"""What the machine gives: open files, disk space, memory, the clock, libraries."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import os
import resource
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from relayq.adapters.embedded import find_file
from relayq.adapters.journal import find_folder
from relayq.cli.doctor.examination import in_thread
from relayq.cli.doctor.finding import Check, Finding, Verdict
from relayq.config import AUTOMATIC, EmbeddedAddress
from relayq.ports import BrokerError, JournalError

if TYPE_CHECKING:
    from relayq.config import Settings

AREA: Final = "machine"

_finding = partial(Finding, AREA)
OTHER_FILES: Final = 100
"""Descriptors beside those of SMTP connections (spec config.md 8.3, ``smtp-connections``)."""
LITTLE_SPACE: Final = 1024**3
NO_SPACE: Final = 100 * 1024**2
FEW_INODES: Final = 10_000
MIB: Final = 1024**2
JUMP: Final = 0.5
"""Seconds by which the clock and the monotonic clock may drift apart while the doctor runs."""
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised
_MEMINFO: Final = Path("/proc/meminfo")
_EXTRAS: Final = {"responsive": ("feedparser", "imagesize", "nh3")}


def machine_checks(settings: Settings, limit: float) -> list[Check]:
    """Everything that is asked of the system; each in a thread of its own."""
    looks = {
        "open files": lambda: look_at_open_files(settings, *resource.getrlimit(resource.RLIMIT_NOFILE)),
        "disk space": lambda: look_at_space(settings),
        "journal": lambda: look_at_journal(settings),
        "memory": lambda: look_at_memory(settings, _MEMINFO),
        "libraries": look_at_libraries,
        "trusted authorities": look_at_authorities,
    }
    return [
        Check(area=AREA, subject=subject, examine=_threaded(look), limit=limit, fix="see whether a disk hangs")
        for subject, look in looks.items()
    ]


def _threaded(look: Callable[[], Iterable[Finding]]) -> Callable[[], Awaitable[Iterable[Finding]]]:
    return lambda: in_thread(look)


def look_at_open_files(settings: Settings, soft: int, hard: int) -> Iterator[Finding]:
    """Whether there may be as many connections as are configured; the soft limit is raised by relayq itself."""
    limits = settings.limits
    wanted = min(limits.smtp_connections_out or limits.smtp_connections, limits.smtp_connections)
    allowed = soft if hard == resource.RLIM_INFINITY or hard < soft else hard
    allowed = 2**31 if hard == resource.RLIM_INFINITY else allowed
    if allowed >= wanted + OTHER_FILES:
        yield _finding("open files", Verdict.OK, f"{_limit_text(hard)} may be open, for {wanted} SMTP connections")
        return
    yield _finding(
        "open files",
        Verdict.WARNING,
        f"{allowed} may be open: at most {max(1, allowed - OTHER_FILES)} of {wanted} SMTP connections",
        f"{wanted + OTHER_FILES}",
        f"set LimitNOFILE={wanted + 1000} for the service, or `ulimit -Hn {wanted + 1000}`, or lower smtp-connections",
    )


def _limit_text(limit: int) -> str:
    return "any number" if limit == resource.RLIM_INFINITY else str(limit)


def look_at_space(settings: Settings) -> Iterator[Finding]:
    """Space where mail and logs are written; each file system once."""
    seen: set[int] = set()
    for what, folder in written_folders(settings):
        try:
            device, state = folder.stat().st_dev, os.statvfs(folder)
        except OSError as error:
            yield _finding(f"{what} {folder}", Verdict.WRONG, error.strerror or str(error), "a folder", "make it")
            continue
        if device not in seen:
            seen.add(device)
            yield judge_space(f"space for {what}, {folder}", state)


def written_folders(settings: Settings) -> list[tuple[str, Path]]:
    """Folders something is written to, with what that is; those that exist or have to exist."""
    folders: list[tuple[str, Path]] = []
    address = settings.broker.address
    if isinstance(address, EmbeddedAddress):
        with contextlib.suppress(BrokerError):  # told by the check of the broker
            folders.append(("queues", find_file(address.path).parent))
    with contextlib.suppress(JournalError):  # told by the check of the journal
        journal = journal_folder(settings)
        folders += [] if journal is None else [("the journal", journal)]
    for what, store in (("the store", settings.store.address), ("downloads", settings.downloads.cache)):
        if store is not None and store.path:
            path = Path(store.path)
            folders.append((what, path if store.engine == "directory" else path.parent))
    logs = (*settings.log.targets, settings.log.send_file or "")
    folders += [("logs", Path(target).parent) for target in logs if target.startswith("/")]
    return folders


def journal_folder(settings: Settings) -> Path | None:
    """Folder of the journal, made like relayq does when it is missing; ``None`` = there is no journal.

    Raises:
        JournalError: It cannot be used.
    """
    given = settings.journal.directory
    return None if given is None else find_folder(None if given == AUTOMATIC else given)


def look_at_journal(settings: Settings) -> Iterator[Finding]:
    """The notes that tell after a crash which mail may have been sent."""
    try:
        folder = journal_folder(settings)
    except JournalError as error:
        # One that was named must be usable; without the usual one relayq starts all the same.
        verdict = Verdict.WARNING if settings.journal.directory == AUTOMATIC else Verdict.WRONG
        fix = "make the folder for the user relayq runs as, or name another one in journal-directory"
        yield _finding("journal", verdict, str(error), "a folder to write to", fix)
        return
    if folder is None:
        found = "switched off: after a crash, mail may be sent twice without a mark"
        yield _finding("journal", Verdict.WARNING, found, "a folder", "set journal-directory: auto")
    else:
        yield _finding("journal", Verdict.OK, str(folder))


def judge_space(subject: str, state: os.statvfs_result) -> Finding:
    """Free octets and free files; some file systems do not count files."""
    free = state.f_bavail * state.f_frsize
    shown = f"{free / MIB:,.0f} MiB free"
    if free < NO_SPACE:
        verdict = Verdict.WRONG
    elif free < LITTLE_SPACE:
        verdict = Verdict.WARNING
    elif state.f_files and state.f_favail < FEW_INODES:
        verdict, shown = Verdict.WARNING, f"{shown}, and room for only {state.f_favail} files"
    else:
        return _finding(subject, Verdict.OK, shown)
    expected = f"at least {LITTLE_SPACE // MIB} MiB and {FEW_INODES} files"
    return _finding(subject, verdict, shown, expected, "delete something there, or choose a larger disk")


def look_at_memory(settings: Settings, meminfo: Path) -> Iterator[Finding]:
    """Whether the bodies workers may hold fit into what is available."""
    workers = settings.process.smtp_threads or os.cpu_count() or 1
    wanted = settings.broker.max_memory * workers
    available = available_memory(meminfo)
    if available is None:
        yield _finding("memory", Verdict.UNKNOWN, f"{meminfo} does not tell", fix="look with `free`")
    elif available < wanted:
        yield _finding(
            "memory",
            Verdict.WARNING,
            f"{available // MIB} MiB available; {workers} workers may hold {wanted // MIB} MiB of bodies",
            f"{wanted // MIB} MiB",
            "lower rabbitmq-max-memory or rabbitmq-qos, or add memory",
        )
    else:
        yield _finding("memory", Verdict.OK, f"{available // MIB} MiB available")


def available_memory(meminfo: Path) -> int | None:
    """Octets, ``None`` = not told."""
    try:
        lines = meminfo.read_text(encoding="ascii", errors="replace").splitlines()
        (amount,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(amount) * 1024
    except (OSError, ValueError, IndexError):
        return None


def look_at_libraries() -> Iterator[Finding]:
    """What features need beside the package itself; drivers of stores are looked at with the store."""
    for extra, names in _EXTRAS.items():
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        if missing:
            yield _finding(
                f"libraries for {extra}",
                Verdict.WARNING,
                f"not installed: {', '.join(missing)}; messages that need them are refused",
                ", ".join(names),
                f"pip install 'relayq[{extra}]', unless no message needs it",
            )
        else:
            yield _finding(f"libraries for {extra}", Verdict.OK, ", ".join(names))


def look_at_authorities() -> Iterator[Finding]:
    """Whether any authority is trusted: without, no certificate of a broker, a policy or a store can be verified."""
    count = ssl.create_default_context().cert_store_stats()["x509_ca"]
    # Authorities in a folder are loaded one by one when they are needed, and not counted.
    folder = Path(ssl.get_default_verify_paths().capath or os.devnull)
    if count or (folder.is_dir() and any(folder.iterdir())):
        yield _finding("trusted authorities", Verdict.OK, f"installed; {ssl.OPENSSL_VERSION}")
        return
    yield _finding(
        "trusted authorities",
        Verdict.WARNING,
        "no trusted authority is installed: no certificate can be verified",
        "the usual ones",
        "apt-get install ca-certificates",
    )


class ClockCheck:
    """The clock: whether something keeps it right, whether it is absurd, and whether it jumps while we look."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def findings(self) -> Iterator[Finding]:
        """What there is to say at the end."""
        jump = time.time() - time.monotonic() - self._offset
        if abs(jump) > JUMP:
            yield _finding(
                "clock",
                Verdict.WARNING,
                f"jumped by {jump:+.1f} s within the last seconds",
                "a clock that is never set, only slewed",
                "let one program alone keep the time: chrony or systemd-timesyncd",
            )
        yield judge_clock(time.time(), newest_file(Path(__file__).parents[2]), read_clock_state())


def newest_file(folder: Path) -> float:
    """When the newest module of this installation was written, in seconds since the epoch; 0 = not known."""
    try:
        return max(file.stat().st_mtime for file in folder.glob("*.py"))
    except (OSError, ValueError):
        return 0.0


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2) up to what is used, and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def read_clock_state() -> tuple[bool, float] | None:
    """Whether the kernel counts the clock as synchronised, and the largest error in seconds; ``None`` = not told."""
    try:
        state = _Timex()
        result = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError):
        return None
    return None if result < 0 else (result != _TIME_ERROR, state.maxerror / 1e6)


def judge_clock(now: float, newest: float, state: tuple[bool, float] | None) -> Finding:
    """Due times, deadlines, signatures and certificates go by the clock."""
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    fix = "`timedatectl set-ntp true`, or install chrony; in a container the host keeps the time"
    if now < newest - 86_400:
        found = f"{shown}, which is before this program was installed"
        return _finding("clock", Verdict.WRONG, found, "the real time", fix)
    if state is None:
        found = f"{shown}; whether something keeps it right cannot be seen here"
        return _finding("clock", Verdict.UNKNOWN, found, "a synchronised clock", "`timedatectl` on the host tells")
    is_synchronised, error = state
    if not is_synchronised:
        return _finding("clock", Verdict.WARNING, f"{shown}; nothing keeps it right", "a synchronised clock", fix)
    return _finding("clock", Verdict.OK, f"{shown}, synchronised, at most {error:.2f} s wrong")
