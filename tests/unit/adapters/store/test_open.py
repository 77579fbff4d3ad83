from __future__ import annotations

from pathlib import Path

import pytest

from relayq.adapters.store import MissingLibraryError, open_store
from relayq.adapters.store.directory import DirectoryStore
from relayq.adapters.store.open import _ENGINES
from relayq.adapters.store.sqlite import SqliteStore
from relayq.ports import StoreAddress


@pytest.mark.parametrize(("engine", "kind"), [("directory", DirectoryStore), ("sqlite", SqliteStore)])
async def test_the_engine_of_the_address(tmp_path: Path, engine: str, kind: type[object]) -> None:
    store = open_store(StoreAddress(engine=engine, scheme=engine, path=str(tmp_path / "bodies")), 2)
    assert isinstance(store, kind)
    assert not (tmp_path / "bodies").exists()  # nothing happens before the first operation
    await store.probe()
    await store.close()


@pytest.mark.parametrize("engine", ["mongodb", "postgresql", "mysql", "couchbase", "s3", "redis"])
def test_an_engine_of_a_later_version_is_not_blamed_on_a_library(engine: str) -> None:
    with pytest.raises(
        MissingLibraryError, match=rf"^stores at {engine}:// are not supported yet; use dir:// or sqlite"
    ):
        open_store(StoreAddress(engine=engine, scheme=engine, hosts=(("h", None),), database="d"))


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise ImportError(name="driver")

    monkeypatch.setitem(_ENGINES, "redis", ("sqlite", "SqliteStore", "redis"))  # stands for a module with a driver
    monkeypatch.setattr("relayq.adapters.store.open.importlib.import_module", fail)
    with pytest.raises(MissingLibraryError, match=r"not installed \(driver\): pip install 'relayq\[redis\]'"):
        open_store(StoreAddress(engine="redis", scheme="redis", hosts=(("h", None),), database="0"))
