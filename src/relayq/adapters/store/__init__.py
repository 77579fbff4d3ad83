"""Message stores: the port made real, one engine per module. Layer 4."""

from relayq.adapters.store.errors import BadOptionError, MissingLibraryError, UnusableAddressError
from relayq.adapters.store.open import check_engine, open_store

__all__ = ["BadOptionError", "MissingLibraryError", "UnusableAddressError", "check_engine", "open_store"]
