"""Libraries of the extra ``responsive``, loaded when a document needs one of them."""

from __future__ import annotations

import importlib
from typing import Any

from relayq.compose.responsive.values import Node


def load_extra(name: str, node: Node) -> Any:  # noqa: ANN401 - a module without types
    """A library that a block needs.

    Raises:
        DocumentError: It is not installed.
        LeftOut: It is not installed, and the block is left out.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise node.faults.leave_out(node.path, f"{name} is not installed: pip install relayq[responsive]") from None
