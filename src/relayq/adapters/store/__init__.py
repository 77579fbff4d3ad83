"""Message stores: the port made real, one engine per module. Layer 4."""

from relayq.adapters.store.open import MissingLibraryError, check_engine, open_store

__all__ = ["MissingLibraryError", "check_engine", "open_store"]
