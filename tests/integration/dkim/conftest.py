"""Verifiers by other people as fixtures; the ones that are not installed skip, and fail in CI."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from tests.integration.dkim.verifiers import MailDkim, OpenDkim, Records, Verifier, verify_with_dkimpy


def missing(package: str) -> None:
    message = f"{package} is not installed; scripts/install-test-servers installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture
def opendkim(tmp_path: Path) -> Verifier:
    if not OpenDkim.is_installed():
        missing("libopendkim11")
    return functools.partial(_ask_opendkim, tmp_path)


def _ask_opendkim(folder: Path, messages: Sequence[bytes], records: Records, _now: datetime) -> list[list[bool]]:
    return OpenDkim().verify(messages, records, folder)


@pytest.fixture(scope="session")
def mail_dkim() -> MailDkim:
    if not MailDkim.is_installed():
        missing("libmail-dkim-perl")
    return MailDkim()


@pytest.fixture(params=["dkimpy", "opendkim", "mail_dkim"])
def verify(request: pytest.FixtureRequest) -> Verifier:
    """Each verifier in turn."""
    if request.param == "dkimpy":
        return verify_with_dkimpy
    if request.param == "mail_dkim":
        verifier: MailDkim = request.getfixturevalue("mail_dkim")
        return verifier.verify
    found: Verifier = request.getfixturevalue("opendkim")
    return found
