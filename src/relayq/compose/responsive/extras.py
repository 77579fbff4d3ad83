"""Libraries of the extra ``responsive``, loaded when a document needs one of them."""

from __future__ import annotations

import importlib
from typing import Any

from relayq.compose.responsive.values import Node

_ADVICE = "is not installed: pip install relayq[responsive]"


def load_extra(name: str, node: Node) -> Any:  # noqa: ANN401 - a module without types
    """A library that a block needs.

    Raises:
        DocumentError: It is not installed.
        LeftOut: It is not installed, and the block is left out.
    """
    module = _load(name)
    if module is None:
        raise node.faults.leave_out(node.path, f"{name} {_ADVICE}")
    return module


def try_extra(name: str, node: Node) -> Any:  # noqa: ANN401 - a module without types
    """A library that a block can do without; ``None`` where it is not installed, which is noted."""
    module = _load(name)
    if module is None:
        node.faults.note(node.path, f"{name} {_ADVICE}")
    return module


def _load(name: str) -> Any:  # noqa: ANN401 - a module without types
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
