from __future__ import annotations

import sys
from pathlib import Path

import pytest

from relayq.adapters.store import MissingLibraryError, open_store
from relayq.adapters.store.directory import DirectoryStore
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
def test_a_missing_library_names_the_extra(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"relayq.adapters.store.{engine}", None)
    with pytest.raises(MissingLibraryError, match=rf"pip install 'relayq\[{engine}\]'"):
        open_store(StoreAddress(engine=engine, scheme=engine, hosts=(("h", None),), database="d"))
