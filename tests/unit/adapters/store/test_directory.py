from __future__ import annotations

import errno
import gzip
import os
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relayq.adapters.store import directory
from relayq.adapters.store.directory import BodyFiles, DirectoryStore
from relayq.adapters.store.layout import expiry_hour, file_name, folder_of
from relayq.ports import StoreAddress, StoreDamagedError, StoreUnavailableError

NOW = int(time.time())
SOON, LATER = NOW + 7200, NOW + 30_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "bodies"


@pytest.fixture
def files(root: Path) -> BodyFiles:
    return BodyFiles(str(root), 4, compress=False)


def path_of(root: Path, key: str) -> Path:
    return root / folder_of(key, 4) / file_name(key)


def markers(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root / ".expire")) for path in (root / ".expire").glob("*/*"))


def sweep_all(files: BodyFiles, now: float) -> None:
    while files.sweep(now):
        pass


def test_where_a_body_lies(files: BodyFiles, root: Path) -> None:
    files.save("abc", b"body", SOON)
    assert (root / "b/a/7/8/abc").read_bytes() == b"body"
    assert (root / "b/a/7/8/abc").stat().st_mtime == SOON
    assert markers(root) == [f"{expiry_hour(SOON)}/abc"]


def test_nobody_else_may_read(files: BodyFiles, root: Path) -> None:
    files.save("abc", b"body", SOON)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (root, *root.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_no_key_leaves_the_directory(files: BodyFiles, root: Path) -> None:
    for key in ("../../etc/x", "/etc/x", "..", ".tmp-x", "a/../../b"):
        files.save(key, key.encode(), SOON)
        assert files.load(key) == key.encode()
    assert [path.name for path in root.parent.iterdir()] == ["bodies"]


@pytest.mark.parametrize("depth", [0, 1, 8])
def test_any_depth(root: Path, depth: int) -> None:
    files = BodyFiles(str(root), depth, compress=True)
    files.save("abc", b"a" * 1000, SOON)
    assert [path.parent for path in root.rglob("abc.gz")] == [root / "/".join("ba7816bf"[:depth])]
    assert files.load("abc") == b"a" * 1000
    sweep_all(files, LATER)
    assert files.load("abc") is None


@pytest.mark.parametrize("place", ["own", "top"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_placed_by_hand_are_found(files: BodyFiles, root: Path, place: str, suffix: str) -> None:
    path = path_of(root, "abc") if place == "own" else root / "abc"
    path = path.with_name(path.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(b"body") if suffix else b"body")
    assert files.load("abc") == b"body"
    sweep_all(files, LATER)
    assert files.load("abc") == b"body"
    files.delete("abc")
    assert files.load("abc") is None
    assert not path.exists()


def test_the_plain_file_in_its_own_folder_comes_first(files: BodyFiles, root: Path) -> None:
    own = path_of(root, "abc")
    own.parent.mkdir(parents=True)
    for path, body in ((own, b"1"), (own.with_name("abc.gz"), b"2"), (root / "abc", b"3"), (root / "abc.gz", b"4")):
        path.write_bytes(gzip.compress(body) if path.suffix else body)
    found = []
    for path in (own, own.with_name("abc.gz"), root / "abc", root / "abc.gz"):
        found.append(files.load("abc"))
        path.unlink()
    assert found == [b"1", b"2", b"3", b"4"]
    assert files.load("abc") is None


def test_what_is_no_file_is_no_body(files: BodyFiles, root: Path) -> None:
    root.mkdir()
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    assert files.load("folder") is None
    assert files.load("pipe") is None
    assert files.load("b") is None
    files.save("abc", b"x", SOON)
    assert files.load("b") is None  # the first level of folders is named like this
    files.delete("folder")
    assert (root / "folder").is_dir()


def test_a_file_beyond_any_size_is_damaged(files: BodyFiles, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "LARGEST_BODY_BYTES", 10)
    files.save("abc", b"x" * 11, SOON)
    with pytest.raises(StoreDamagedError, match="larger than"):
        files.load("abc")


def test_writing_leaves_no_temporary_file_when_it_fails(
    files: BodyFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.save("abc", b"x", SOON)
    assert not list(root.rglob(".tmp-*"))
    assert files.load("abc") is None


async def test_an_error_of_the_file_system_is_told_without_its_number(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(StoreAddress(engine="directory", scheme="dir", path=str(root)))
    await store.probe()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailableError, match=r"^directory: No space left on device$"):
        await store.save("abc", b"x", datetime.now(UTC) + timedelta(hours=1))
    await store.close()


def test_a_directory_that_vanishes_is_an_outage_and_not_a_missing_body(files: BodyFiles, root: Path) -> None:
    files.load("abc")
    root.rename(root.with_name("unmounted"))
    operations: list[Callable[[], object]] = [
        lambda: files.load("abc"),
        lambda: files.save("abc", b"x", SOON),
        lambda: files.refresh("abc", SOON),
        lambda: files.delete("abc"),
    ]
    for operation in operations:
        with pytest.raises(FileNotFoundError):
            operation()
    assert not root.exists()
    root.with_name("unmounted").rename(root)
    assert files.load("abc") is None


def test_a_file_system_that_cannot_flush_folders_will_do(
    files: BodyFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def picky(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", picky)
    files.save("abc", b"x", SOON)
    assert files.load("abc") == b"x"


def test_every_write_is_flushed_before_it_gets_its_name(
    files: BodyFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def flush(descriptor: int) -> None:
        steps.append("flush folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "flush file")
        fsync(descriptor)

    def name(source: str, target: str) -> None:
        assert os.path.basename(source).startswith(".tmp-")
        assert os.path.dirname(source) == os.path.dirname(target)
        steps.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "rename", name)
    files.save("abc", b"x", SOON)
    assert steps[-3:] == ["flush file", "rename", "flush folder"]


# --- expiry ---------------------------------------------------------------------------------------------------------


def test_sweeping_removes_what_has_expired_and_its_marker(files: BodyFiles, root: Path) -> None:
    files.save("old", b"x", NOW - 7200)
    files.save("just", b"x", NOW - 1)
    files.save("new", b"x", NOW + 7200)
    sweep_all(files, NOW)
    assert [files.load(key) for key in ("old", "just", "new")] == [None, None, b"x"]
    assert markers(root) == [f"{expiry_hour(NOW + 7200)}/new"]
    assert not (root / ".expire" / expiry_hour(NOW - 7200)).exists()


def test_what_expires_later_in_this_hour_stays(files: BodyFiles, root: Path) -> None:
    hour = NOW - NOW % 3600
    files.save("abc", b"x", hour + 1800)
    sweep_all(files, hour + 1799)
    assert files.load("abc") == b"x"
    sweep_all(files, hour + 1800)
    assert files.load("abc") is None


def test_a_saved_or_refreshed_file_has_one_marker(files: BodyFiles, root: Path) -> None:
    files.save("abc", b"x", SOON)
    files.save("abc", b"y", LATER)
    assert markers(root) == [f"{expiry_hour(LATER)}/abc"]
    files.save("abc", b"z", SOON)
    files.refresh("abc", LATER)
    files.refresh("abc", SOON)
    assert markers(root) == [f"{expiry_hour(LATER)}/abc"]
    assert path_of(root, "abc").stat().st_mtime == LATER


def test_a_marker_of_an_earlier_expiry_is_only_cleaned_away(files: BodyFiles, root: Path) -> None:
    files.save("abc", b"x", LATER)
    stale = root / ".expire" / expiry_hour(NOW - 7200) / "abc"
    stale.parent.mkdir()
    stale.touch()
    sweep_all(files, NOW)
    assert files.load("abc") == b"x"
    assert markers(root) == [f"{expiry_hour(LATER)}/abc"]


def test_markers_nobody_understands_do_not_stop_the_sweeper(files: BodyFiles, root: Path) -> None:
    files.save("old", b"x", NOW - 7200)
    hour = root / ".expire" / expiry_hour(NOW - 7200)
    (hour / "\udcff").touch()
    (hour / "%zz").touch()
    (hour / "folder").mkdir()
    (root / ".expire" / "README").touch()
    (root / ".expire" / "2001").touch()
    sweep_all(files, NOW)
    assert files.load("old") is None


def test_what_a_killed_writer_left_behind_goes_after_a_day(files: BodyFiles, root: Path) -> None:
    files.save("abc", b"x", NOW - 7200)
    path = path_of(root, "abc")
    path.rename(path.with_name(".tmp-0123"))
    sweep_all(files, NOW)
    assert path.with_name(".tmp-0123").exists()
    files.save("abc", b"x", NOW - 7200)
    path.rename(path.with_name(".tmp-4567"))
    sweep_all(files, NOW + 2 * 86400)
    assert not list(root.rglob(".tmp-*"))


def test_a_batch_is_bounded_and_the_next_one_goes_on(
    files: BodyFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "SWEEP_BATCH", 4)
    for number in range(10):
        files.save(f"old-{number}", b"x", NOW - 7200)
    left = []
    while files.sweep(NOW):
        left.append(len(markers(root)))
    assert left == [6, 2]
    assert markers(root) == []


def test_two_sweepers_do_not_disturb_each_other(files: BodyFiles, root: Path) -> None:
    other = BodyFiles(str(root), 4, compress=False)
    for number in range(20):
        files.save(f"old-{number}", b"x", NOW - 7200)
    assert not files.sweep(NOW)
    assert not other.sweep(NOW)
    assert not other.sweep(NOW)
