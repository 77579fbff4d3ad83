"""Libraries of the extra ``responsive``, loaded when a document needs one of them."""

from __future__ import annotations

import importlib
from typing import Any

from relayq.compose.responsive.errors import DocumentError


def load_extra(name: str) -> Any:  # noqa: ANN401 - a module without types
    """A library.

    Raises:
        DocumentError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DocumentError("mime", f"{name} is not installed: pip install relayq[responsive]") from None
