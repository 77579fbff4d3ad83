"""Golden files: ``pytest tests/golden --update-golden`` rewrites what is expected; the difference is for review."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected files of tests/golden")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether to write what came out instead of comparing it."""
    # Without the folder on the command line the option does not exist.
    return bool(request.config.getoption("--update-golden", default=False))
