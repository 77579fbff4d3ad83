"""Message stores: the port made real, one engine per module. Layer 4."""

from relayq.adapters.store.open import MissingLibraryError, open_store

__all__ = ["MissingLibraryError", "open_store"]
