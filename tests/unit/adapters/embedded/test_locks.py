from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayq.adapters.embedded.locks import TURN, MachineLocks, TurnTimeoutError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relayq.db-locks"


@pytest.fixture
def pair(path: Path, tmp_path: Path) -> Iterator[tuple[MachineLocks, MachineLocks]]:
    pair = MachineLocks(path, tmp_path.stat()), MachineLocks(path, tmp_path.stat())
    yield pair
    for locks in pair:
        locks.close()


def test_a_byte_has_one_holder(pair: tuple[MachineLocks, MachineLocks]) -> None:
    one, other = pair
    assert one.try_lock(5)
    assert not other.try_lock(5)
    assert other.try_lock(6)
    assert (one.is_locked(5), other.is_locked(5)) == (False, True)
    one.unlock(5)
    assert not other.is_locked(5)
    assert other.try_lock(5)


def test_locks_go_with_their_holder(path: Path, pair: tuple[MachineLocks, MachineLocks]) -> None:
    third = MachineLocks(path, path.stat())
    assert third.try_lock(9)
    assert pair[0].is_locked(9)
    third.close()
    assert not pair[0].is_locked(9)


def test_one_turn_at_a_time(pair: tuple[MachineLocks, MachineLocks]) -> None:
    one, other = pair
    with one.turn(0), pytest.raises(TurnTimeoutError), other.turn(0.01):
        pass
    with other.turn(0):
        assert one.is_locked(TURN)
    assert not one.is_locked(TURN)


def test_a_turn_is_waited_for(pair: tuple[MachineLocks, MachineLocks]) -> None:
    one, other = pair
    assert one.try_lock(TURN)
    timer = threading.Timer(0.05, one.unlock, (TURN,))
    started = time.monotonic()
    timer.start()
    with other.turn(10):
        waited = time.monotonic() - started
    timer.join()
    assert waited >= 0.05


def test_a_turn_ends_with_an_error(pair: tuple[MachineLocks, MachineLocks]) -> None:
    with pytest.raises(RuntimeError), pair[0].turn(0):
        raise RuntimeError
    assert not pair[1].is_locked(TURN)


def test_the_file_is_private_and_no_link_is_followed(tmp_path: Path, path: Path) -> None:
    MachineLocks(path, tmp_path.stat()).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        MachineLocks(link, tmp_path.stat())
