"""Why there is no store at an address; for whoever wrote it, so nothing secret of it is quoted."""

from __future__ import annotations


class UnusableAddressError(Exception):
    """No store can be made from an address, now or later."""


class MissingLibraryError(UnusableAddressError):
    """An engine cannot be used here; the text says whether an extra of the package would help."""


class BadOptionError(UnusableAddressError):
    """An option that is passed on to the engine's client is none of its own, or has a value it does not take."""
