"""From the address of a store to the store; the driver of an engine is imported only when that engine is used."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

from relayq.adapters.store.errors import MissingLibraryError
from relayq.ports import MessageStore, StoreAddress

# Engine → module of this package, its class (made from the address and the number of threads), extra of the package.
_ENGINES: dict[str, tuple[str, str, str | None]] = {
    "directory": ("directory", "DirectoryStore", None),
    "sqlite": ("sqlite", "SqliteStore", None),
    "mongodb": ("mongodb", "MongoDbStore", "mongodb"),
    "postgresql": ("postgresql", "PostgreSqlStore", "postgresql"),
    "mysql": ("mysql", "MySqlStore", "mysql"),
    "couchbase": ("couchbase", "CouchbaseStore", "couchbase"),
    "s3": ("s3", "S3Store", "s3"),
    "redis": ("redis", "RedisStore", "redis"),
}


def open_store(address: StoreAddress, threads: int = 1) -> MessageStore:
    """The store at an address; it connects with its first operation.

    Args:
        address: Where it is.
        threads: Operations that run at the same time.

    Raises:
        MissingLibraryError: The engine's client library is not installed, or this version does not have the engine.
        BadOptionError: The engine's client does not take one of its options.
    """
    make = _load_engine(address)
    return make(address, threads)


def check_engine(address: StoreAddress) -> None:
    """See whether `open_store` would have what it needs; nothing is connected to.

    Raises:
        UnusableAddressError: As `open_store` does.
    """
    open_store(address)


def _load_engine(address: StoreAddress) -> Callable[[StoreAddress, int], MessageStore]:
    module_name, class_name, extra = _ENGINES[address.engine]
    path = f"{__package__}.{module_name}"
    if importlib.util.find_spec(path) is None:
        raise MissingLibraryError(f"stores at {address.scheme}:// are not supported yet; use dir:// or sqlite://")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            f"a store at {address.scheme}:// needs a library that is not installed ({error.name}): "
            f"pip install 'relayq[{extra}]'"
        ) from error
    except ImportError as error:
        # Installed, but too old for us, or made for another system.
        raise MissingLibraryError(
            f"a store at {address.scheme}:// needs a library that cannot be loaded ({error}): "
            f"pip install --upgrade 'relayq[{extra}]'"
        ) from error
    make: Callable[[StoreAddress, int], MessageStore] = getattr(module, class_name)
    return make
