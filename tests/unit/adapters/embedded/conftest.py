"""What only tests of the embedded broker need."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder everybody can reach: not below that of pytest, which every pytest that starts closes to others."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    with tempfile.TemporaryDirectory(prefix="relayq-test-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
