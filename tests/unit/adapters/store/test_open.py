from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from relayq.adapters.store import MissingLibraryError, check_engine, open_store
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


def test_an_engine_of_a_later_version_is_not_blamed_on_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_ENGINES, "redis", ("of_tomorrow", "TomorrowStore", "redis"))
    with pytest.raises(MissingLibraryError, match=r"^stores at rediss:// are not supported yet; use dir:// or sqlite"):
        check_engine(StoreAddress(engine="redis", scheme="rediss", hosts=(("h", None),), database="0"))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ModuleNotFoundError("No module", name="driver"), "is not installed (driver): pip install 'relayq[redis]'"),
        (
            ImportError("cannot import name 'x'"),
            "cannot be loaded (cannot import name 'x'): pip install --upgrade 'relay",
        ),
    ],
)
def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, error: ImportError, text: str) -> None:
    def fail(_name: str) -> object:
        raise error

    monkeypatch.setitem(_ENGINES, "redis", ("sqlite", "SqliteStore", "redis"))  # stands for a module with a driver
    monkeypatch.setattr("relayq.adapters.store.open.importlib.import_module", fail)
    address = StoreAddress(engine="redis", scheme="redis", hosts=(("h", None),), database="0")
    for use in (check_engine, open_store):
        with pytest.raises(MissingLibraryError, match=re.escape(text)):
            use(address)


def test_what_is_there_passes_without_being_used(tmp_path: Path) -> None:
    check_engine(StoreAddress(engine="directory", scheme="dir", path=str(tmp_path / "bodies")))
    assert not list(tmp_path.iterdir())


def test_nothing_but_the_library_of_the_engine_is_asked_for() -> None:
    libraries = {"postgresql": "asyncpg", "mysql": "asyncmy", "redis": "hiredis"}
    # In a process of its own: modules that were imported once stay.
    code = f"""
import sys
sys.modules.update(dict.fromkeys({list(libraries.values())!r}))
from relayq.adapters.store import MissingLibraryError, check_engine
from relayq.ports import StoreAddress
for engine in {list(libraries)!r}:
    try:
        check_engine(StoreAddress(engine=engine, scheme=engine, hosts=(("h", None),), database="0"))
    except MissingLibraryError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == [
        f"a store at {engine}:// needs a library that is not installed ({library}): pip install 'relayq[{engine}]'"
        for engine, library in libraries.items()
    ]
