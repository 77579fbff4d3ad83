"""Stores, and the file of the embedded broker."""

from __future__ import annotations

import asyncio
import stat
from datetime import datetime
from pathlib import Path

import pytest

from relayq.adapters.store import MissingLibraryError
from relayq.app import open_broker
from relayq.cli.doctor import embedded_file, stores
from relayq.cli.doctor.embedded_file import embedded_checks, look_at_file
from relayq.cli.doctor.finding import Finding, Verdict
from relayq.cli.doctor.stores import look_at_store, store_checks
from relayq.ports import MessageStore, StoreAddress, StoreUnavailableError
from tests.unit.cli.doctor.settings import settings


class Shelf:
    """A store that does what a test wants."""

    def __init__(self, *, loses: bool = False, keeps: bool = False, hangs: bool = False, fails: bool = False) -> None:
        self.loses, self.keeps, self.hangs, self.fails = loses, keeps, hangs, fails
        self.bodies: dict[str, bytes] = {}
        self.is_closed = False

    async def probe(self) -> None:
        if self.fails:
            raise StoreUnavailableError("no route")

    async def load(self, key: str) -> bytes | None:
        return None if self.loses else self.bodies.get(key)

    async def save(self, key: str, body: bytes, expire_at: datetime) -> None:
        del expire_at
        if self.hangs:
            await asyncio.Event().wait()
        await self.probe()
        self.bodies[key] = body

    async def delete(self, key: str) -> None:
        if not self.keeps:
            self.bodies.pop(key, None)

    async def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    ("shelf", "text"),
    [
        (Shelf(loses=True), "does not come back"),
        (Shelf(keeps=True), "still there"),
        (Shelf(hangs=True), "no answer within 0.05 s"),
        (Shelf(fails=True), "no route"),
    ],
)
async def test_stores_that_do_not_work(monkeypatch: pytest.MonkeyPatch, shelf: Shelf, text: str) -> None:
    monkeypatch.setattr(stores, "open_store", lambda _address: shelf)
    address = StoreAddress(engine="redis", scheme="redis", hosts=(("h.example", None),))
    (finding,) = await look_at_store(address, writes=True, limit=0.05)
    assert finding.verdict is Verdict.WRONG
    assert text in finding.found
    assert shelf.is_closed


async def test_a_store_that_works(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    for policy, text in (("all", "written, read and deleted"), ("in", "never writes")):
        (check,) = store_checks(
            settings(f"--storage-address=dir://{tmp_path}/store", f"--storage-policy={policy}"), 5.0
        )
        (finding,) = list(await check.examine())
        assert (finding.verdict, text in finding.found) == (Verdict.OK, True)
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert store_checks(settings(), 5.0) == []


async def test_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: StoreAddress) -> MessageStore:
        raise MissingLibraryError("pip install 'relayq[redis]'")

    monkeypatch.setattr(stores, "open_store", refuse)
    (finding,) = await look_at_store(StoreAddress(engine="redis", scheme="redis"), writes=True, limit=1.0)
    assert (finding.verdict, finding.found) == (Verdict.WRONG, "pip install 'relayq[redis]'")


async def look(path: Path) -> list[Finding]:
    (check,) = embedded_checks(settings(f"--rabbitmq-address=embedded://{path}"), 5.0)
    return list(await check.examine())


async def test_a_queue_file(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    missing, _ = await look(path)
    assert (missing.verdict, missing.found) == (Verdict.OK, "not there yet; made when relayq starts")
    assert not path.exists()
    broker = open_broker(settings(f"--rabbitmq-address=embedded://{path}"))
    await broker.open()
    await broker.close()
    mode, inside = await look(path)
    assert (mode.verdict, mode.found) == (Verdict.OK, "mode 0600")
    assert "0 messages ready" in inside.found
    path.chmod(0o644)
    mode, _ = await look(path)
    assert (mode.verdict, f"chmod 0600 {path}" in mode.fix) == (Verdict.WARNING, True)


async def test_what_is_no_queue_file(tmp_path: Path) -> None:
    folder, _ = await look(tmp_path / "nowhere" / "q.db")
    assert (folder.verdict, f"mkdir {tmp_path}/nowhere" in folder.fix) == (Verdict.WRONG, True)
    (tmp_path / "other").write_bytes(b"x" * 5000)
    (finding,) = await look(tmp_path / "other")
    assert (finding.verdict, "name another file" in finding.fix) == (Verdict.WRONG, True)
    assert (tmp_path / "other").read_bytes() == b"x" * 5000


def test_a_network_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded_file, "network_file_system", lambda _path: "nfs4")
    path = tmp_path / "q.db"
    path.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
    network, _ = look_at_file(path)
    assert (network.verdict, "nfs4" in network.found) == (Verdict.WRONG, True)
