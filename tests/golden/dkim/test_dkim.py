"""Messages and the signature fields they get, octet by octet: Ed25519 and RSA PKCS#1 v1.5 leave nothing to chance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relayq.compose.dkim import prepare_signatures
from relayq.compose.signing_keys import PrivateKeys, parse_signing_keys
from relayq.model.timestamp import parse_timestamp

CASES = sorted(Path(__file__).parent.glob("*.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_signatures(case: Path, *, update_golden: bool) -> None:
    given = json.loads(case.read_text("utf-8"))
    message = case.with_suffix(".eml").read_bytes().replace(b"\n", b"\r\n")
    keys = parse_signing_keys(given["dkim"])
    field = prepare_signatures(message, keys, parse_timestamp(given["now"]), PrivateKeys()).sign()
    expected = case.with_suffix(".out")
    if update_golden:
        expected.write_bytes(field.replace(b"\r\n", b"\n"))
    assert field == expected.read_bytes().replace(b"\n", b"\r\n")


def test_there_are_cases() -> None:
    assert len(CASES) >= 8
